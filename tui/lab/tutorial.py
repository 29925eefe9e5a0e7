"""The Lab's tutorial: questions, each with an answer that is shown on request. docs/lab.md has the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content


@dataclass(frozen=True)
class Question:
    """A question on the bench with the `NAME` `bench`, and its answer."""

    bench: str
    question: str
    answer: str


QUESTIONS = (
    Question(
        "plane",
        "Press home for noise level 1. Where do all arrows point, and why not to the nearest moon?",
        "To the mean of all points. Pure noise contains no information about the point, and the mean has the least "
        "squared error.",
    ),
    Question(
        "plane",
        "Set steps to 1. Where will the particles end?",
        "Near the mean of their class: a single step only follows the arrows of noise level 1. With more steps the "
        "particles also follow those of lower levels, and reach the moons.",
    ),
    Question(
        "plane",
        "Choose a class and set guidance to 4. What improves, and what gets worse?",
        "Fewer particles end in the other class, but they vary less: they also avoid the part of their own class that "
        "is close to the other one.",
    ),
    Question(
        "corruption",
        "Set the class to any and press end. What does the network predict from pure noise?",
        "The mean of all digits, for the same reason as in the plane.",
    ),
    Question(
        "corruption",
        "Which has the smaller squared error at t = 1: the prediction in one step, or the sample of many steps?",
        "The prediction, although it is blurred. A sample is sharp, and sharp strokes in other places have a larger "
        "error than a blur.",
    ),
    Question(
        "training",
        "The noise level of each step is random. At which noise levels is the loss largest?",
        "At both ends. The network predicts noise minus image: near 0 it can hardly recognize the noise, near 1 the "
        "image.",
    ),
    Question(
        "training",
        "Set t to .8 and the learning rate to 0.001. What happens to the loss, and what does the network learn?",
        "It falls step by step. A copy of the network memorizes this image, the only one that it is trained on.",
    ),
    Question(
        "ideal",
        "How many training images does the ideal denoiser average at noise level .2, and how many at .9?",
        "One, and many: the more noise, the more training images are probable given the noisy image.",
    ),
    Question(
        "ideal",
        "Where does sampling with the ideal denoiser end, and where does sampling with the network end?",
        "The ideal denoiser's sample is a training image, at distance 0. The network's is a new image, since the "
        "network cannot store all training images.",
    ),
    Question(
        "inside",
        "Press j to turn the skip connections off. What is lost?",
        "The positions. A map of 7x7 pixels only contains rough positions of the strokes; skip connections carry the "
        "exact ones.",
    ),
    Question(
        "inside",
        "Raise t from .1 to .7. Does the receptive field of a pixel grow or shrink?",
        "For most digits and pixels it grows: the less of the image is visible, the wider the context that helps.",
    ),
    Question(
        "convolution",
        "An image of 28x28, kernel size 3, stride 2, padding 1: how large is the map?",
        "14x14: (28 + 2 - 3) / 2, rounded down, plus 1.",
    ),
    Question(
        "convolution",
        "Turn on flip. What changes for sobel x, and what for box blur?",
        "sobel x changes its sign. box blur is symmetric and stays as it is.",
    ),
    Question(
        "transposed",
        "Kernel size 3, stride 2: how many kernels overlap at each pixel?",
        "One, two or four, which forms a checkerboard. Size 4 is a multiple of the stride: the interior is even.",
    ),
)


class Tutorial:
    """The current question, and whether its answer is visible."""

    def __init__(self, bench: str) -> None:
        """Start at the first question on `bench`, or at the first of all if it has none."""
        self._index = next((index for index, question in enumerate(QUESTIONS) if question.bench == bench), 0)
        self._answered = False

    @property
    def bench(self) -> str:
        """The bench of the question."""
        return QUESTIONS[self._index].bench

    def advance(self) -> bool:
        """Show the answer, or the next question; False after the last one."""
        if self._answered:
            self._index += 1
        self._answered = not self._answered
        return self._index < len(QUESTIONS)

    @property
    def content(self) -> Content:
        """What is shown below the bench."""
        question = QUESTIONS[self._index]
        number = (f"{self._index + 1}/{len(QUESTIONS)} ", "bold $accent")
        if self._answered:
            return Content.assemble(number, question.question, "\n", (question.answer, "$foreground"))
        return Content.assemble(number, (question.question, "$foreground"), "\n", ("enter ", "bold $accent"), "answer")
