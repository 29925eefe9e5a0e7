"""The engine's replies to the ideal denoiser's bench, in this process and through the codec."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core import TrainConfig, build_model, ideal_model, load_dataset, load_model
from core.diffusion.frames import to_uint8
from core.engine.codec import decode_reply, decode_request, encode, parse_header
from core.engine.ideal import LEVELS
from core.engine.ideal_messages import (
    IDEAL,
    IDEAL_REPLIES,
    IDEAL_REQUESTS,
    LOCAL,
    NETWORK,
    IdealEnd,
    IdealPredictions,
    IdealReply,
    IdealRequest,
    IdealStep,
)
from core.engine.protocol import DatasetImage, Done, DrawnImage, EngineReply, Refused
from core.engine.server import EngineServer
from core.lab import ideal_sweep
from core.models.weights import write_tensors
from core.runs.directory import CONFIG, MODEL

TRAINING = 60  # images


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models: of glyphs, of a dataset that is not here, and on a path without an ideal denoiser."""
    root = tmp_path_factory.mktemp("models")
    shared = {"model": "patch_unet", "channels": (16, 16), "limit": TRAINING, "precision": "float32", "root": root}
    for name, options in {
        "glyphs": {"dataset": "glyphs"},
        "elsewhere": {"dataset": "kmnist"},
        "mixed": {"dataset": "glyphs", "path": "mix", "prediction": "clean"},
    }.items():
        config = TrainConfig(name=name, **shared, **options)  # type: ignore[arg-type]
        net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
        (root / name).mkdir()
        (root / name / CONFIG).write_text(config.to_toml())
        write_tensors(root / name / MODEL, "model", net.state_dict(), config, 0)
    return root


@pytest.fixture
def request_(root: Path) -> IdealRequest:
    return IdealRequest(id=1, model="glyphs", root=str(root), image=DatasetImage("glyphs", 3), label=None, first=10)


def asked(*requests: IdealRequest) -> list[EngineReply]:
    """The replies to requests in turn, decoded from the bytes that a server writes."""
    written = io.BytesIO()
    server = EngineServer(io.BytesIO(), written)
    for request in requests:
        decoded = decode_request(encode(request))
        assert isinstance(decoded, IdealRequest)
        server.handle(decoded)
    written.seek(0)
    return list(replies(written))


def replies(written: io.BytesIO) -> Iterator[EngineReply]:
    while line := written.readline():
        record, size = parse_header(line)
        yield decode_reply(record, written.read(size))


def test_a_request_is_decoded_as_it_was_encoded(request_: IdealRequest) -> None:
    other = replace(request_, image=DrawnImage("00ff", 3), label=-1, patch=5, seed=7)
    assert {type(request) for request in (request_, other)} == set(IDEAL_REQUESTS)
    assert [decode_request(encode(request)) for request in (request_, other)] == [request_, other]


def test_noise_levels_are_computed_from_the_first_one_outward_and_then_it_samples(request_: IdealRequest) -> None:
    found = asked(replace(request_, patch=3))
    assert {type(reply) for reply in found} == {*IDEAL_REPLIES, Done}
    head, *rest = found
    assert isinstance(head, IdealReply)
    assert (head.dataset, head.is_own, head.total, head.noise_levels) == ("glyphs", True, TRAINING, LEVELS)
    predictions = [reply for reply in rest if isinstance(reply, IdealPredictions)]
    assert [reply.index for reply in predictions[:4]] == [10, 9, 11, 8]
    assert sorted(reply.index for reply in predictions) == list(range(41))

    training, test = load_dataset("glyphs", limit=TRAINING), load_dataset("glyphs", split="test", limit=4)
    model = load_model("glyphs", "cpu", request_.root)
    label = int(test.labels[3])
    assert head.condition == head.label == label
    assert head.count == int((training.labels == label).sum())
    ideal = ideal_model(model.config, *training)
    image = test.images[3] / 255
    (point,) = ideal_sweep(model, ideal, image, [LEVELS[10]], label=label, k=min(8, head.count))
    first = predictions[0]
    assert set(first.denoised) == set(first.errors) == {IDEAL, LOCAL, NETWORK}
    assert first.denoised[IDEAL] == to_uint8(point.ideal[None])
    assert first.errors[IDEAL] == pytest.approx(point.ideal_error, rel=1e-4)
    assert first.errors[NETWORK] == pytest.approx(point.network_error, rel=1e-4)
    assert first.indices == tuple(point.indices.tolist())
    assert first.weights == pytest.approx(tuple(point.weights.tolist()), rel=1e-4)
    assert set(first.labels) == {label}
    assert first.images[:784] == training.images[first.indices[0]].numpy().tobytes()

    steps = [reply for reply in rest if isinstance(reply, IdealStep)]
    assert [step.index for step in steps] == list(range(41))
    assert len(set(steps[0].images.values())) == 1  # the same noise
    (end,) = (reply for reply in rest if isinstance(reply, IdealEnd))
    assert end.nearest[IDEAL].distance == 0
    assert end.nearest[IDEAL].image == steps[-1].images[IDEAL]
    assert end.nearest[IDEAL].label == label
    assert end.nearest[NETWORK].distance > 0.01


def test_training_images_that_are_not_here_are_replaced_by_digits(
    request_: IdealRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("core.engine.ideal.FALLBACK_IMAGES", TRAINING)
    head, *_ = asked(replace(request_, model="elsewhere", label=-1))
    assert isinstance(head, IdealReply)
    assert (head.dataset, head.is_own, head.count) == ("glyphs", False, TRAINING)


def test_what_has_no_ideal_denoiser_is_refused_in_one_line(request_: IdealRequest) -> None:
    refused = {
        "patch must be an odd number": {"patch": 4},
        "patch must lie between 1 and 15": {"patch": 99},
        "none of the 60 training images has the class 11": {"label": 11},
        "needs Gaussian noise": {"model": "mixed"},
    }
    found = asked(*(replace(request_, **changes) for changes in refused.values()))  # type: ignore[arg-type]
    assert all(isinstance(reply, Refused) for reply in found)
    for reply, reason in zip(found, refused, strict=True):
        assert isinstance(reply, Refused)
        assert reason in reply.message
