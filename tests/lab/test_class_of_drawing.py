"""The class of a drawn digit: chosen, read by the classifier, or none; and that the network is given it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.data.datasets import load_dataset
from core.diffusion.loaded_model import LoadedModel, load_model
from core.engine.lab import LabImage, lab_replies
from core.engine.lab_messages import CorruptionReply, CorruptionRequest, InsideReply, InsideRequest
from core.engine.protocol import DrawnImage, SampleRequest, Start
from core.engine.sampling import plan_sampling
from core.lab import corruption_sweep, one_step

IMAGE = DrawnImage("00")
CORRUPTION = CorruptionRequest(model="", image=IMAGE, steps=1, label=None, first=40)
INSIDE = InsideRequest(model="", image=IMAGE, t=0.9, label=None, layer=None, pixel=(14, 14), skips=True)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("default-mnist", device="cpu")


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return load_dataset("glyphs", split="test", limit=1).images[0].float() / 255


def read_as_six(model: LoadedModel, images: Tensor) -> tuple[tuple[int, int], ...]:
    return ((6, 93),) * len(images)


def no_classifier(model: LoadedModel, images: Tensor) -> None:
    return None


@pytest.mark.parametrize(
    ("label", "requested", "classify", "expected"),
    [
        (None, None, read_as_six, 6),
        (4, None, read_as_six, 4),
        (-1, None, read_as_six, -1),
        (None, None, no_classifier, -1),
        (None, 2, read_as_six, 2),
    ],
    ids=["read", "chosen", "none", "no classifier", "requested"],
)
def test_the_class_of_a_drawing_reaches_the_network(label, requested, classify, expected, model, pixels) -> None:
    image = LabImage(pixels, label, drawn=True)
    reply = next(lab_replies(replace(CORRUPTION, label=requested), image, lambda: model, classify))
    assert isinstance(reply, CorruptionReply)
    assert reply.condition == expected
    assert reply.drawing_read == ((6, 93) if label is None and classify is read_as_six else None)
    *_, last = corruption_sweep(model, pixels, [0.5, 1.0], label=expected)
    predicted = torch.tensor(list(reply.predictions[-1].values)).reshape(28, 28)
    assert torch.allclose(predicted, last.prediction[0], atol=0.02)

    (inside,) = lab_replies(replace(INSIDE, label=requested), image, lambda: model, classify)
    assert isinstance(inside, InsideReply)
    (point,) = corruption_sweep(model, pixels, [0.9], label=expected)
    reference = one_step(model, point.x[None], 0.9, expected)[0, 0]
    assert torch.allclose(torch.tensor(list(inside.prediction.values)).reshape(28, 28), reference, atol=1e-4)


def test_the_class_of_a_test_image_is_not_read(model, pixels) -> None:
    reply = next(lab_replies(CORRUPTION, LabImage(pixels, 3), lambda: model, read_as_six))
    assert (reply.condition, reply.drawing_read) == (3, None)
    reply = next(lab_replies(CORRUPTION, LabImage(pixels, None), lambda: model, read_as_six))
    assert (reply.condition, reply.drawing_read) == (-1, None)


@pytest.mark.parametrize(
    ("label", "requested", "expected", "read"),
    [(None, None, 6, (6, 93)), (4, None, 4, None), (-1, None, -1, None), (None, -1, -1, None), (None, 2, 2, None)],
)
def test_sampling_from_a_drawing_uses_its_class_unless_another_is_requested(
    label, requested, expected, read, model, pixels
) -> None:
    drawing = DrawnImage((pixels * 255).round().to(torch.uint8).numpy().tobytes().hex(), label)
    request = SampleRequest(model="", n=2, steps=1, label=requested, start=Start(drawing, 0.5))

    def no_images(first: int, n: int) -> None:
        raise AssertionError("no test image is needed")

    plan = plan_sampling(model, request, no_images, lambda images: read_as_six(model, images))
    assert plan.classes == (expected, expected)
    assert plan.drawing_read == read
