"""Messages between UI and engine survive a round trip, and invalid ones are refused."""

from __future__ import annotations

import json
from array import array
from typing import Any

import pytest

from core.config.datasets import DatasetInfo
from core.config.sampling import Sampling
from core.engine.codec import decode_reply, decode_request, encode, parse_header
from core.engine.lab_messages import (
    LAB_REPLIES,
    LAB_REQUESTS,
    ConvolutionReply,
    ConvolutionRequest,
    CorruptionReply,
    CorruptionRequest,
    CorruptionSample,
    InsideReply,
    InsideRequest,
    LayerInfo,
    LayerKernel,
    TransposedReply,
    TransposedRequest,
)
from core.engine.protocol import (
    REPLIES,
    REQUESTS,
    Alive,
    Array,
    Cancelled,
    DatasetImage,
    DescriptionReply,
    DescriptionRequest,
    Done,
    DrawnImage,
    EngineReply,
    EngineRequest,
    Interpolation,
    InversionProgress,
    NearestProgress,
    NearestReply,
    NearestRequest,
    Ready,
    Refused,
    SampledFrame,
    SampleRequest,
    SamplingInfo,
    SnapshotSampled,
    SnapshotsRequest,
    Start,
)
from core.runs.description import DatasetDescription, RunDescription
from core.runs.snapshots import LoggedValues, SnapshotFrame
from core.runs.trajectory import Denoising, Frame

KERNEL = ((0.0, 1.0), (-1.0, 0.5))
SAMPLE = SampleRequest(id=3, model="a", steps=4, guidance=1.5, start=Start(DrawnImage("00ff", 7), 0.5, ("01", "10")))
EVERY_REQUEST = [
    SAMPLE,
    DescriptionRequest(id=7, options={"epochs": 3, "ema": 0.5, "flip": True, "channels": (8, 16), "limit": None}),
    NearestRequest(id=6, model="a", n=3, seed=2, start=Interpolation("a.png", "b.png")),
    SnapshotsRequest(id=8, model="a", n=3, label=2, training_steps=(0, 1, 512), validate=False),
    ConvolutionRequest(
        id=1, model="a", image=DatasetImage("mnist", 3), kernel=KERNEL, stride=1, padding=2, padding_mode="zeros",
        dilation=1, flip=True,
    ),
    TransposedRequest(
        id=2, model="a", image=DrawnImage("00ff"), kernel=LayerKernel("into", 0, 1), side=4, stride=2, padding=0,
        dilation=1,
    ),
    CorruptionRequest(id=4, model="a", image=DrawnImage(""), steps=3, label=-1, first=2),
    InsideRequest(id=5, model="a", image=DrawnImage(""), t=0.25, label=None, layer="", pixel=(3, 4), skips=False),
]  # fmt: skip


def numbers(*shape: int) -> Array:
    count = 1
    for side in shape:
        count *= side
    return Array(shape, array("f", [index / 4 - 2 for index in range(count)]))


EVERY_REPLY = [
    SnapshotSampled(id=8, frame=SnapshotFrame(512, b"\x00\xff", ((3, 97),), LoggedValues(0.5, 0.25, 469, None), 0.125)),
    SnapshotSampled(id=8, frame=SnapshotFrame(0, b"", None)),
    Ready(device="cpu", seconds=1.5),
    Alive(),
    Refused(id=1, message="n must be at least 1, not 0"),
    Cancelled(id=2),
    Done(id=3, seconds=0.25),
    SamplingInfo(
        id=4, denoising=Denoising("a", 5, 3, 2, 28, 28, ()), sampling=Sampling("heun", 3, 2.0, 1.0, 0.1),
        labels=(7, -1), class_names=("0", "1"), start=b"\0\1", drawing_read=(7, 93), nfe=7, parameters=1234,
        device="cpu",
    ),
    SampledFrame(id=5, frame=Frame(1, 0.5, b"\0\1\2\3", b"\4\5\6\7", ((7, 98), (1, 3)))),
    SampledFrame(id=5, frame=Frame(0, 1.0, b"\0\1\2\3", None)),
    InversionProgress(id=5, done=1, steps=50),
    NearestProgress(id=5, compared=0, total=0),
    NearestReply(
        id=5, height=1, width=2, channels=1, images=b"\0\1\2\3", indices=(7, 9), labels=(1, -1), distances=(0.25, 0.0),
    ),
    DescriptionReply(
        id=5, description=RunDescription(
            data=DatasetDescription(name="a", location="b", info=DatasetInfo(class_names=()), train=3),
            model="unet2d", device="cpu", parameters=5, seconds=0.5, memory=None,
        ),
    ),
    ConvolutionReply(
        id=6, label=7, dilation=1, flip=False, formula="28 - 3 + 1 = 26", origins=((0, 0), (0, 1)), image=numbers(2, 2),
        padded=numbers(3, 3), kernel=numbers(2, 2), windows=numbers(2, 2, 2), products=numbers(2, 2, 2),
        output=numbers(1, 2), flipped_output=numbers(1, 2),
    ),
    TransposedReply(
        id=7, label=None, padding=0, dilation=1, formula="4", origins=((0, 0),), image=numbers(1, 1),
        kernel=numbers(2, 2), spreads=numbers(1, 2, 2), outputs=numbers(1, 2, 2), overlaps=numbers(2, 2),
        upsampled=numbers(0, 3),
    ),
    CorruptionReply(
        id=8, label=1, noise_levels=(0.0, 1.0), path="flow", condition=None, drawing_read=None,
        errors=(0.5, 0.25), read=((1, 2), (3, 4)),
        image=numbers(2, 2), noisy={"flow": numbers(2, 2, 2), "vp": numbers(2, 2, 2)},
        coefficients={"flow": numbers(2, 2), "vp": numbers(2, 2)}, predictions=numbers(2, 2, 2),
    ),
    CorruptionSample(id=9, label=1, index=4, error=0.125, read=None, sampled=numbers(2, 2)),
    InsideReply(
        id=10, label=3, t=0.5, class_conditional=True, drawing_read=(3, 50), layer="into", pixel=(3, 4),
        layers=(LayerInfo("", 0, "Net", None, 5, 6), LayerInfo("into", 1, "Conv2d", (4, 14, 14), 5, 6)),
        attention_layers=("mid",), kernel_count=4, image=numbers(2, 2), noisy=numbers(2, 2), prediction=numbers(2, 2),
        receptive_field=numbers(2, 2), maps=numbers(4, 2, 2), kernels=None, attention=None,
    ),
]  # fmt: skip


def decoded(content: bytes) -> EngineReply:
    line, _, payload = content.partition(b"\n")
    record, size = parse_header(line)
    assert size == len(payload)
    return decode_reply(record, payload)


def test_every_type_of_message_is_covered_here() -> None:
    assert {type(message) for message in EVERY_REQUEST} == {*REQUESTS, *LAB_REQUESTS}
    assert {type(message) for message in EVERY_REPLY} == {*REPLIES, *LAB_REPLIES}


@pytest.mark.parametrize("request_", EVERY_REQUEST, ids=lambda message: type(message).__name__)
def test_a_request_is_decoded_as_it_was_encoded(request_: EngineRequest) -> None:
    line = encode(request_)
    assert line.count(b"\n") == 1
    assert decode_request(line) == request_


@pytest.mark.parametrize("reply", EVERY_REPLY, ids=lambda message: type(message).__name__)
def test_a_reply_is_decoded_as_it_was_encoded(reply: EngineReply) -> None:
    assert decoded(encode(reply)) == reply


def test_subarrays_and_rows_of_an_array() -> None:
    whole = numbers(2, 3, 4)
    assert whole[1].shape == (3, 4)
    assert list(whole[1].rows[2]) == [3.0, 3.25, 3.5, 3.75]
    assert whole[-1] == whole[1]
    assert whole[1].at(2, 0) == 3.0
    assert whole.max_abs == 3.75
    assert Array((0,), []).max_abs == 0.0


@pytest.mark.parametrize("reply", EVERY_REPLY[5:], ids=lambda message: type(message).__name__)
def test_a_reply_whose_payload_is_truncated_or_too_long_is_refused(reply: EngineReply) -> None:
    line, _, payload = encode(reply).partition(b"\n")
    record, _ = parse_header(line)
    for wrong in (payload[:-1], payload + b"x") if payload else (b"x",):
        with pytest.raises(ValueError, match="bytes where the fields need"):
            decode_reply(dict(record), wrong)


@pytest.mark.parametrize("reply", EVERY_REPLY, ids=lambda message: type(message).__name__)
def test_a_reply_with_a_field_missing_or_of_another_type_is_refused(reply: EngineReply) -> None:
    line, _, payload = encode(reply).partition(b"\n")
    record, _ = parse_header(line)
    for name in [name for name in record if name not in ("type", "id")]:
        with pytest.raises(ValueError, match=r".+"):
            decode_reply({key: value for key, value in record.items() if key != name}, payload)
        with pytest.raises(ValueError, match=r".+"):
            decode_reply({**record, name: {"type": "Unknown"}}, payload)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": True}, "n must be an integer, not true"),
        ({"n": 1.5}, "n must be an integer, not 1.5"),
        ({"guidance": "2"}, 'guidance must be a number, not "2"'),
        ({"model": None}, "model must be text, not null"),
        ({"label": "x" * 100}, "label must be an integer"),
        ({"start": {"type": "Start", "image": 7, "t": 10**400}}, "t must be a number"),
        ({"start": {"type": "Start", "image": None}}, "image must be an integer, not null"),
        ({"start": {"type": "Start", "image": "a.png", "mask": [1]}}, "mask must be text, not 1"),
    ],
)
def test_a_request_with_a_field_of_another_type_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    refused = decode_request(json.dumps({**json.loads(encode(SAMPLE)), **changes}).encode())
    assert isinstance(refused, Refused)
    assert refused.id == SAMPLE.id
    assert words in refused.message
    assert len(refused.message) < 150


@pytest.mark.parametrize("line", [b"", b"{}", b"5", b"[]", b'{"type": "Ready", "id": 1}', b'{"type": "SampleRequest"}'])
def test_a_line_that_is_no_request_with_an_id_is_ignored(line: bytes) -> None:
    assert decode_request(line) is None
