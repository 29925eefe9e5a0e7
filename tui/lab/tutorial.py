"""The Lab's tutorial: questions to answer before the bench shows the answer. docs/lab.md has the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content


@dataclass(frozen=True)
class Question:
    """A question on one bench, named by its `NAME`, and its answer."""

    bench: str
    question: str
    answer: str


QUESTIONS = (
    Question(
        "plane",
        "Press home for noise level 1. Where do all arrows point, and why not to the nearest moon?",
        "To the mean of all points. Pure noise says nothing about the point it came from, and the mean has the least "
        "squared error.",
    ),
    Question(
        "plane",
        "Set steps to 1. Where will the particles end?",
        "Near the mean of their class: one step follows the first arrow all the way. More steps turn with the arrows, "
        "and reach the moons.",
    ),
    Question(
        "plane",
        "Choose a class and set guidance to 4. What is gained, and what is lost?",
        "The particles keep away from the other class, also where there are points of their own: fewer mistakes, less "
        "variety.",
    ),
    Question(
        "corruption",
        "Set the class to any and press end. What does the network predict from pure noise?",
        "The mean of all digits, for the same reason as in the plane.",
    ),
    Question(
        "corruption",
        "Which has the smaller squared error at t = 1: the prediction in one step, or the sample of many steps?",
        "The prediction, although it is blurred. A sample is sharp, and sharp strokes in other places cost more than "
        "a blur.",
    ),
    Question(
        "training",
        "Each step draws a noise level. At which levels is the loss largest?",
        "At both ends. The network predicts noise minus image: near 0 the noise is too weak to be recognized, near 1 "
        "the image is.",
    ),
    Question(
        "training",
        "Set t to .8 and the learning rate to 0.001. What happens to the loss, and what does the network learn?",
        "It falls step by step. A copy of the network learns this one image by heart, since there is nothing else to "
        "average.",
    ),
    Question(
        "ideal",
        "How many training images does the ideal denoiser average at noise level .2, and how many at .9?",
        "One, and many: the noisier the image, the more training images explain it.",
    ),
    Question(
        "ideal",
        "Where does sampling with the ideal denoiser end, and where does sampling with the network?",
        "In a training image, at distance 0. The network cannot store them all, and what it predicts instead leads to "
        "new images.",
    ),
    Question(
        "inside",
        "Press j to turn the skip connections off. What is lost?",
        "The positions. A map of 7x7 pixels only roughly knows where strokes are; skip connections carry the rest.",
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
    """A position among the questions: which one is asked, and whether its answer is visible."""

    def __init__(self, bench: str) -> None:
        """Start at the first question on `bench`, or at the very first."""
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
