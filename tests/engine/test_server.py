"""The engine as a real process, through its pipes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import TINY
from engine_process import Client
from PIL import Image
from toy_models import colour_model

from core import (
    inpaint,
    interpolate_images,
    interpolate_seeds,
    load_dataset,
    load_model,
    nearest_training_images,
    sample,
)
from core.config.sampling import CONTRAST, GUIDANCE, Sampling
from core.data.input_image import read_image
from core.diffusion.frames import record, to_uint8
from core.diffusion.sampling import noised
from core.engine.codec import encode
from core.engine.lab_messages import CorruptionRequest, InsideRequest
from core.engine.protocol import (
    Cancelled,
    DatasetImage,
    DescriptionReply,
    DescriptionRequest,
    Done,
    DrawnImage,
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
    Start,
)
from core.runs.trajectory import Denoising, Frame


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Client(["-m", "core.engine.server"])
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def request_(finished_run: Path) -> SampleRequest:
    return SampleRequest(id=1, model="done", root=str(finished_run.parent), device="cpu", n=2, steps=3, seed=5)


def raw(request: EngineRequest, **changes: Any) -> dict[str, Any]:
    """A request as JSON, with fields changed to values that no valid request has."""
    return {**json.loads(encode(request)), **changes}


def test_it_sends_ready_once_torch_is_loaded(client: Client) -> None:
    ready = client.reply()
    assert isinstance(ready, Ready)
    assert ready.device


def test_it_sends_every_step_that_the_sampler_returns(
    client: Client, request_: SampleRequest, finished_run: Path
) -> None:
    client.send(request_)
    info = client.reply()
    assert isinstance(info, SamplingInfo)
    assert (info.id, info.device) == (1, "cpu")
    assert info.denoising == Denoising("done", 5, 3, 2, 28, 28, ())
    loaded = load_model(finished_run, device="cpu")
    assert info.parameters == sum(parameter.numel() for parameter in loaded.net.parameters())
    expected = record(sample(loaded, n=2, steps=3, seed=5), model="done", seed=5)
    for frame in expected.frames:
        assert_same(client.until(SampledFrame).frame, frame)
    assert client.until(Done).id == 1


def test_it_finds_the_nearest_training_image_of_each_sample(
    client: Client, request_: SampleRequest, finished_run: Path
) -> None:
    """With the samples that it has just sent, and with those that it has yet to generate."""
    config = load_model(finished_run, device="cpu").config
    training = load_dataset("glyphs", split="train", limit=config.limit)
    for number, seed in enumerate((5, 6), start=20):
        fields = {**raw(request_), "seed": seed, "id": number}
        client.send({**fields, "type": "NearestRequest"})
        assert client.until(NearestProgress) == NearestProgress(id=number, compared=0, total=0)
        assert client.until(NearestProgress) == NearestProgress(id=number, compared=64, total=64)
        reply = client.until(NearestReply)
        assert client.until(Done).id == number
        *_, last = sample(load_model(finished_run, device="cpu"), n=2, steps=3, seed=seed)
        expected = nearest_training_images(last.x, training.images)
        assert (reply.id, reply.height, reply.width, reply.channels) == (number, 28, 28, 1)
        assert list(reply.indices) == expected.indices[:, 0].tolist()
        assert reply.distances == pytest.approx(expected.distances[:, 0].tolist(), abs=1e-3)
        assert list(reply.labels) == training.labels[expected.indices[:, 0]].tolist()
        assert reply.images == training.images[expected.indices[:, 0]].numpy().tobytes()


def test_a_model_whose_training_data_is_not_here_has_no_nearest_images(client: Client, with_classes: Path) -> None:
    """`with_classes` names no dataset, and the other model one that is not on any machine."""
    from core.models.weights import read_weights, write_tensors

    moved = with_classes.with_name("moved.safetensors")
    weights, config, step, _ = read_weights(with_classes)
    elsewhere = config.model_copy(update={"dataset": "/not/here", "dataset_info": config.info})
    write_tensors(moved, "model", weights, elsewhere, step)
    for model, words in ((with_classes, "does not say on which images"), (moved, "/not/here")):
        client.send(NearestRequest(id=30, model=str(model), device="cpu", n=1, steps=1))
        assert client.until(NearestProgress) == NearestProgress(id=30, compared=0, total=0)
        assert_refused(client, 30, words)


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of 16x12 RGB images, and two such images."""
    from core.models.weights import write_tensors

    folder, loaded = tmp_path_factory.mktemp("colour"), colour_model()
    write_tensors(folder / "colour.safetensors", "model", loaded.net.state_dict(), loaded.config, 1)
    for name, gradient in (("a.png", Image.linear_gradient), ("b.png", Image.radial_gradient)):
        gradient("L").resize((12, 16)).convert("RGB").save(folder / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


MASK = ("0" * 6 + "1" * 6,) * 16  # the right half


def test_it_starts_from_files_and_drawings_and_generates_the_masked_part(client: Client, colour: Path) -> None:
    loaded, file = colour_model(), str(colour / "a.png")
    image = read_image(file, (3, 16, 12))
    request = SampleRequest(id=60, model=str(colour / "colour.safetensors"), device="cpu", n=2, steps=3, seed=5)
    half = torch.tensor([[cell == "1" for cell in row] for row in MASK])
    noisy = noised(loaded, image.expand(2, 3, 16, 12), 0.4, seed=5)
    sketch = noised(loaded, torch.full((2, 3, 16, 12), 0.2), 0.7, seed=5)
    for start, expected, nfe, clean in (
        (Start(file, 0.4), sample(loaded, steps=3, seed=5, start=noisy, start_t=0.4, labels=-1), 3, to_uint8(image)),
        (Start(file, 1.0, MASK), inpaint(loaded, image, half, n=2, steps=3, seed=5), 11, to_uint8(image)),
        (
            Start(DrawnImage("33" * 16 * 12), 0.7),
            sample(loaded, steps=3, seed=5, start=sketch, start_t=0.7, labels=-1),
            3,
            b"\x33" * 16 * 12 * 3,
        ),
    ):
        client.send(replace(request, start=start))
        info = client.until(SamplingInfo)
        assert (info.labels, info.nfe) == ((-1, -1), nfe)
        assert info.start == clean
        for frame in record(expected, model="", seed=5).frames:
            assert_same(client.until(SampledFrame).frame, frame)
        client.until(Done)


def test_it_interpolates_between_two_seeds_and_between_two_image_files(client: Client, colour: Path) -> None:
    loaded, files = colour_model(), [str(colour / name) for name in ("a.png", "b.png")]
    request = SampleRequest(id=61, model=str(colour / "colour.safetensors"), device="cpu", n=3, steps=3)
    images = [read_image(file, (3, 16, 12)) for file in files]
    for ends, expected, sampler in (
        (Interpolation(3, 8), interpolate_seeds(loaded, 3, 8, 3, 3), "dpm2m"),
        (Interpolation(*files), interpolate_images(loaded, *images, 3, 3), "ddim"),
    ):
        client.send(replace(request, start=ends))
        assert client.until(SamplingInfo).sampling.sampler == sampler
        if sampler == "ddim":
            progress = [client.until(InversionProgress) for _ in range(3)]
            assert [(step.done, step.steps) for step in progress] == [(1, 3), (2, 3), (3, 3)]
        for frame in record(expected, model="", seed=0).frames:
            assert_same(client.until(SampledFrame).frame, frame)
        client.until(Done)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (Start("missing.png", 0.5), "cannot read the image missing.png"),
        (Start("notes.txt", 0.5), "not an image"),
        (Start("a.png", 1.5), "start_t must lie in"),
        (Start(DrawnImage("00"), 0.5), "a drawn image needs 192 pixels, not 1"),
        (Start("a.png", 1.0, ("01", "10")), "the mask has 2 rows of 2 pixels, but the model's images are 16x12"),
        (Start(0, 0.5), "does not say on which images"),
        (Interpolation(3, "a.png"), "between two seeds or two image files"),
    ],
)
def test_a_start_that_cannot_be_used_is_refused_in_one_line(
    client: Client, colour: Path, start: Start | Interpolation, words: str
) -> None:
    if isinstance(start, Start) and isinstance(start.image, str) and start.image != "missing.png":
        start = replace(start, image=str(colour / start.image))
    client.send(SampleRequest(id=30, model=str(colour / "colour.safetensors"), device="cpu", n=2, steps=2, start=start))
    assert_refused(client, 30, words)


def assert_same(frame: Frame, expected: Frame) -> None:
    """The same images up to one gray level: another number of threads may round differently."""
    assert frame.index == expected.index
    assert frame.t == pytest.approx(expected.t)
    for image, other in ((frame.x, expected.x), (frame.prediction or b"", expected.prediction or b"")):
        assert len(image) == len(other)
        assert max((abs(a - b) for a, b in zip(image, other, strict=True)), default=0) <= 1


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a class-conditional network with time conditioning."""
    import torch

    from core import TrainConfig, build_model
    from core.models.weights import write_tensors

    config = TrainConfig(model="patch_unet", channels=(16, 16), precision="float32")
    net = build_model(config.model, **config.model_options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1)
    path = tmp_path_factory.mktemp("weights") / "classes.safetensors"
    write_tensors(path, "model", net.state_dict(), config, 1)
    return path


def test_options_that_are_left_out_take_the_models_defaults(client: Client, request_: SampleRequest) -> None:
    client.send(request_)
    info = client.until(SamplingInfo)
    client.until(Done)
    assert info.sampling == Sampling("mix", 3, 1.0, 1.0)
    assert (info.labels, info.nfe) == (None, 3)


def test_samples_that_are_not_finite_are_refused(client: Client, with_classes: Path) -> None:
    client.send(SampleRequest(id=9, model=str(with_classes), n=1, steps=3, guidance=1e300))
    refused = client.until(Refused)
    assert refused.id == 9
    assert "the samples are not finite" in refused.message


@pytest.mark.parametrize(
    ("options", "sampling", "labels", "nfe", "python"),
    [
        ({}, Sampling("dpm2m", 3, GUIDANCE, 1.0, CONTRAST), (0, 1), None, {}),
        ({"label": -1, "guidance": 2.0}, Sampling("dpm2m", 3, 1.0, 1.0, CONTRAST), (-1, -1), 3, {"labels": -1}),
        (
            {"label": 7, "guidance": 2.0, "sampler": "heun", "shift": 1.5, "contrast": 0.1},
            Sampling("heun", 3, 2.0, 1.5, 0.1),
            (7, 7),
            7,
            {"labels": 7, "guidance": 2.0, "sampler": "heun", "shift": 1.5, "contrast": 0.1},
        ),
    ],
)
def test_it_samples_with_the_requested_options(
    client: Client,
    request_: SampleRequest,
    with_classes: Path,
    options: dict[str, Any],
    sampling: Sampling,
    labels: tuple[int, ...],
    nfe: int | None,
    python: dict[str, Any],
) -> None:
    client.send(replace(request_, model=str(with_classes), **options))
    info = client.until(SamplingInfo)
    assert (info.sampling, info.labels) == (sampling, labels)
    assert nfe is None or info.nfe == nfe
    expected = record(sample(load_model(with_classes, "cpu"), n=2, steps=3, seed=5, **python), model="", seed=5)
    for frame in expected.frames:
        assert_same(client.until(SampledFrame).frame, frame)
    client.until(Done)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": "hein"}, "did you mean heun"),
        ({"sampler": "diffusers:DDIMScheduler"}, "does not support the path flow"),
        ({"sampler": 5}, "sampler must be text, not 5"),
        ({"guidance": -1}, "guidance must be"),
        ({"guidance": "much"}, 'guidance must be a number, not "much"'),
        ({"shift": 0}, "shift must be"),
        ({"label": 10}, "not 10"),
        ({"label": [1]}, "label must be an integer, not a list"),
    ],
)
def test_an_invalid_option_is_refused_in_one_line(
    client: Client, request_: SampleRequest, with_classes: Path, changes: dict[str, Any], words: str
) -> None:
    client.send(raw(request_, **{"model": str(with_classes), "id": 30, **changes}))
    assert_refused(client, 30, words)


def assert_refused(client: Client, number: int, words: str) -> None:
    refused = client.reply()
    assert isinstance(refused, Refused)
    assert refused.id == number
    assert words in refused.message
    assert len(refused.message.splitlines()) == 1
    assert refused.message.isprintable()


@pytest.mark.parametrize("changes", [{"label": 3}, {"guidance": 2}])
def test_an_unconditional_model_refuses_classes_and_guidance(
    client: Client, request_: SampleRequest, changes: dict[str, Any]
) -> None:
    client.send(replace(request_, **changes))
    assert_refused(client, 1, "without classes")


def test_a_long_request_is_accompanied_by_alive_messages(client: Client, request_: SampleRequest) -> None:
    began, before = time.monotonic(), client.alive_count
    client.send(replace(request_, id=9, steps=100_000))
    while client.alive_count < before + 2:
        client.until(SampledFrame)
        assert time.monotonic() - began < 60
    client.send(replace(request_, id=10))
    assert client.until(Done).id == 10


def test_a_newer_request_cancels_the_one_in_progress(client: Client, request_: SampleRequest) -> None:
    client.send(replace(request_, id=10, steps=100_000))
    client.until(SampledFrame)
    client.send(replace(request_, id=11))
    assert client.until(Cancelled).id == 10
    assert client.until(Done).id == 11


def test_of_many_pending_requests_only_the_last_is_handled(client: Client, request_: SampleRequest) -> None:
    client.send(*(replace(request_, id=number, steps=5000) for number in range(20, 25)), replace(request_, id=25))
    cancelled = []
    while not isinstance(reply := client.reply(), Done):
        if isinstance(reply, Cancelled):
            cancelled.append(reply.id)
    assert reply.id == 25
    assert cancelled == [20, 21, 22, 23, 24]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "nothing"}, "there is no model 'nothing'"),
        ({"model": 5}, "model must be text, not 5"),
        ({"device": "cuda:93"}, "cuda:93"),
        ({"device": 5}, "device must be text"),
        ({"n": 0}, "n must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"n": "many"}, 'n must be an integer, not "many"'),
        ({"n": 1e400}, "n must be an integer"),
        ({"n": True}, "n must be an integer, not true"),
        ({"seed": None}, "seed must be an integer, not null"),
        ({"n": [1]}, "n must be an integer, not a list"),
        ({"root": ["x"]}, "root must be text"),
    ],
)
def test_an_invalid_request_is_refused_in_one_line_and_the_next_one_works(
    client: Client, request_: SampleRequest, changes: dict[str, Any], words: str
) -> None:
    client.send(raw(request_, **{"id": 30, **changes}))
    assert_refused(client, 30, words)
    client.send(replace(request_, id=31))
    assert client.until(Done).id == 31


def test_a_request_without_a_required_field_is_refused(client: Client, request_: SampleRequest) -> None:
    incomplete = raw(request_)
    del incomplete["model"]
    client.send(incomplete)
    assert_refused(client, 1, "model is missing")


@pytest.mark.parametrize("line", [b"\n", b"{\n", b"5\n", b"null\n", b"[1, 2]\n", b"[[1, 2]]\n", b"\xff\xfe\n", b"{}\n"])
def test_a_line_that_is_no_request_is_ignored(client: Client, request_: SampleRequest, line: bytes) -> None:
    client.send(line)
    client.send(replace(request_, id=40))
    assert client.until(Done).id == 40


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000 + b"\n",
        b'{"type": "SampleRequest", "id": ' + b"[" * 60_000 + b"\n",
        b'{"type": "SampleRequest", "id": ' + b"9" * 5000 + b"}\n",
        b'{"type": "SampleRequest", "id": [1]}\n',
        b'{"type": {}, "id": 1}\n',
        b'{"type": "SampleRequest", "id": 1, "model": "' + b"x" * 1_000_000 + b'"}\n',
    ],
)
def test_a_line_nested_too_deeply_or_too_long_is_ignored_and_the_next_request_works(
    client: Client, request_: SampleRequest, line: bytes
) -> None:
    client.send(line)
    client.send(replace(request_, id=41))
    assert client.reply().id == 41
    client.until(Done)


BLANK = DrawnImage("00" * 784)
INSIDE = InsideRequest(model="done", image=BLANK, t=0.5, label=None, layer=None, pixel=(0, 0), skips=True)
CORRUPTION = CorruptionRequest(model="done", image=BLANK, steps=2, label=None, first=0)


@pytest.mark.parametrize(
    ("request_type", "changes", "words"),
    [
        (SampleRequest(model="done"), {"n": 10**9}, "n must be at most 1,024"),
        (SampleRequest(model="done", start=Start(0, 0.5)), {"n": 10**9}, "n must be at most 1,024"),
        (SampleRequest(model="done"), {"n": 10**4000}, "n must be at most 1,024"),
        (SampleRequest(model="done"), {"steps": 10**9}, "steps must be at most 100,000"),
        (INSIDE, {"image": None}, "image must be"),
        (replace(INSIDE, image=DrawnImage("00")), {}, "784 pixels, not 1"),
        (replace(INSIDE, image=DatasetImage("x\x1b[2J", 0)), {}, "there is no dataset"),
        (INSIDE, {"pixel": []}, "pixel must be"),
        (replace(INSIDE, pixel=(28, 0)), {}, "pixel"),
        (replace(CORRUPTION, steps=101), {}, "at most 100"),
    ],
)
def test_a_request_out_of_range_is_refused(
    client: Client, finished_run: Path, request_type: EngineRequest, changes: dict[str, Any], words: str
) -> None:
    request = replace(request_type, root=str(finished_run.parent), device="cpu")
    client.send(raw(request, **{"id": 30, **changes}))
    assert_refused(client, 30, words)


def test_a_model_is_read_again_when_its_file_has_changed(
    client: Client, request_: SampleRequest, tmp_path: Path
) -> None:
    from core import TrainConfig, build_model
    from core.models.weights import write_tensors

    for channels in ((2,), (3,)):
        config = TrainConfig(preset="quick", channels=channels)
        net = build_model(config.model, **config.model_options)
        write_tensors(tmp_path / "m.safetensors", "model", net.state_dict(), config, 1)
        client.send(replace(request_, model=str(tmp_path / "m.safetensors")))
        info = client.until(SamplingInfo)
        assert info.parameters == sum(parameter.numel() for parameter in net.parameters())
        client.until(Done)


OPTIONS = {**TINY, "limit": 64, "threads": 1}


def test_it_describes_a_run_and_a_newer_request_cancels_that(client: Client, request_: SampleRequest) -> None:
    client.send(DescriptionRequest(id=60, options=OPTIONS))
    while isinstance(reply := client.reply(), DescriptionReply):
        last = reply
    assert isinstance(reply, Done)
    assert (reply.id, last.id) == (60, 60)
    assert last.description.data.train == 64
    assert last.description.seconds
    client.send(DescriptionRequest(id=61, options=OPTIONS))
    assert isinstance(client.reply(), DescriptionReply)
    client.send(replace(request_, id=62))
    while isinstance(reply := client.reply(), DescriptionReply):
        assert reply.id == 61
    assert isinstance(reply, Cancelled)
    assert client.until(Done).id == 62


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": "/nothing/here"}, "there is no /nothing/here"),
        ({"epochs": 0}, "epochs: "),
        ({"model": "unet2d", "channels": (31,)}, "unet2d needs multiples of 32"),
    ],
)
def test_a_run_that_cannot_start_is_refused_in_one_line(
    client: Client, options: dict[str, str | int | tuple[int, ...]], words: str
) -> None:
    client.send(DescriptionRequest(id=63, options={**options}))
    assert_refused(client, 63, words)


def test_it_exits_when_its_stdin_closes_even_while_it_samples(client: Client, request_: SampleRequest) -> None:
    client.send(replace(request_, id=50, steps=100_000))
    client.until(SampledFrame)
    assert client.end() == 0


def test_output_printed_by_libraries_does_not_reach_the_replies() -> None:
    program = (
        "import os, sys, core.engine.server, core.compute.device\n"
        "pick = core.compute.device.pick_device\n"
        "def chatty(name='auto'):\n"
        "    print('hello'); os.write(1, b'hello from C'); os.system('echo hello from a child')\n"
        "    return pick(name)\n"
        "core.compute.device.pick_device = chatty\n"
        "core.engine.server.main()"
    )
    client = Client(["-c", program])
    assert isinstance(client.reply(), Ready)
    assert client.end() == 0


def test_it_opens_no_port() -> None:
    client = Client(["-m", "core.engine.server"])
    assert isinstance(client.reply(), Ready)
    sockets = [one for one in psutil.net_connections("all") if one.pid == client.process.pid]
    assert sockets == []
    assert client.end() == 0
