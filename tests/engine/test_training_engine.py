"""The engine's replies to the training bench, through the codec."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from core import load_dataset, load_model, training_steps
from core.engine.codec import decode_reply, decode_request, encode, parse_header
from core.engine.protocol import Array, DatasetImage, Done, DrawnImage, EngineReply, Refused
from core.engine.server import EngineServer
from core.engine.training_messages import TrainingReply, TrainingRequest

REQUEST = TrainingRequest(
    id=1,
    model="quick-mnist",
    image=DatasetImage("glyphs", 2),
    device="cpu",
    steps=2,
    batch_size=2,
    t=0.4,
    learning_rate=1e-3,
    seed=3,
)


written = io.BytesIO()
server = EngineServer(io.BytesIO(), written)  # which keeps the model that it has loaded


def ask(request: TrainingRequest) -> list[EngineReply]:
    """The replies, decoded from the bytes that the engine writes."""
    written.seek(0)
    written.truncate()
    decoded = decode_request(encode(request))
    assert decoded == request
    server.handle(decoded)
    written.seek(0)
    replies = []
    while line := written.readline():
        record, size = parse_header(line)
        replies.append(decode_reply(record, written.read(size)))
    return replies


def tensor(array: Array) -> torch.Tensor:
    return torch.tensor(list(array.values)).reshape(array.shape)


def test_it_sends_what_each_step_computes() -> None:
    *replies, done = ask(REQUEST)
    assert isinstance(done, Done)
    model, digits = load_model("quick-mnist", device="cpu"), load_dataset("glyphs", split="test", limit=3)
    options = {"batch_size": 2, "t": 0.4, "seed": 3, "learning_rate": 1e-3}
    records = training_steps(model, digits.images[2] / 255, 2, **options)  # type: ignore[arg-type]
    for reply, record in zip(replies, records, strict=True):
        assert isinstance(reply, TrainingReply)
        assert (reply.id, reply.step, reply.steps, reply.label) == (1, record.step, 2, int(digits.labels[2]))
        assert (reply.condition, reply.keeps_noise, reply.prediction) == (None, True, "clean")
        assert (reply.value_range, reply.batch_size) == ((0.0, 1.0), 2)
        for name in ("t", "alpha", "sigma", "weight"):
            assert getattr(reply, name) == getattr(record, name)
        for name in ("loss", "batch_loss", "gradient_norm"):
            assert getattr(reply, name) == pytest.approx(getattr(record, name), rel=1e-3)
        for name in ("image", "noise", "noisy", "target", "output"):
            expected = getattr(record, name)[0, :, :, None]
            torch.testing.assert_close(tensor(getattr(reply, name)), expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(tensor(reply.errors), record.errors[0], rtol=1e-2, atol=1e-4)
        assert reply.layers == tuple(layer.name for layer in record.gradients)
        norms = torch.tensor([(layer.norm, layer.weight_norm) for layer in record.gradients])
        torch.testing.assert_close(tensor(reply.gradients), norms, rtol=1e-2, atol=1e-5)
        for array, bins in ((reply.bins, record.bins), (reply.first_bins, record.first_bins)):
            rows = torch.tensor([((part.low + part.high) / 2, part.mean, part.std) for part in bins])
            torch.testing.assert_close(tensor(array), rows, rtol=1e-2, atol=1e-4)


def test_a_request_without_learning_rate_has_no_first_bins() -> None:
    first, *_ = ask(replace(REQUEST, t=None, learning_rate=None, steps=0, image=DrawnImage("00" * 784, -1)))
    assert isinstance(first, TrainingReply)
    assert first.first_bins.shape == (0, 3)
    assert (first.keeps_noise, first.label) == (False, -1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 501}, "steps must be at most 500"),
        ({"batch_size": 65}, "the batch 64"),
        ({"batch_size": 0}, "batch_size and bins at least 1"),
        ({"t": 2.0}, "t must lie in [0, 1]"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"model": "fast-mnist"}, "fast-mnist is distilled"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    (reply,) = ask(replace(REQUEST, **changes))  # type: ignore[arg-type]
    assert isinstance(reply, Refused)
    assert words in reply.message
