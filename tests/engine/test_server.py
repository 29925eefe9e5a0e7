"""The engine as a real process: requests in over a pipe, replies out over another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_process import Client

from core import load_model, sample
from core.config.sampling import CONTRAST, GUIDANCE
from core.diffusion.frames import record


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    made = Client(["-m", "core.engine.server"])
    yield made
    made.process.kill()
    made.process.wait()


@pytest.fixture
def request_(finished_run: Path) -> dict[str, Any]:
    return {
        "do": "sample", "id": 1, "model": "done", "root": str(finished_run.parent), "device": "cpu",
        "n": 2, "steps": 3, "seed": 5,
    }  # fmt: skip


def test_it_says_when_it_is_ready(client: Client) -> None:
    ready = client.reply()
    assert ready["event"] == "ready"
    assert ready["device"]


def test_it_sends_every_step_of_what_the_sampler_makes(
    client: Client, request_: dict[str, Any], finished_run: Path
) -> None:
    client.send(request_)
    opening = client.reply()
    assert (opening["event"], opening["id"], opening["model"]) == ("sampling", 1, "done")
    assert (opening["seed"], opening["steps"], opening["n"]) == (5, 3, 2)
    assert (opening["height"], opening["width"], opening["device"]) == (28, 28, "cpu")
    loaded = load_model(finished_run, device="cpu")
    assert opening["parameters"] == sum(parameter.numel() for parameter in loaded.net.parameters())
    expected = record(sample(loaded, n=2, steps=3, seed=5), model="done", seed=5)
    for frame in expected.frames:
        step = client.reply()
        assert (step["event"], step["id"], step["index"]) == ("step", 1, frame.index)
        assert step["amount"] == pytest.approx(frame.t)
        wanted = frame.x + (frame.prediction or b"")
        assert len(client.payload) == len(wanted)
        assert max(abs(a - b) for a, b in zip(client.payload, wanted, strict=True)) <= 1  # threads may differ
    done = client.reply()
    assert (done["event"], done["id"]) == ("done", 1)


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a net that knows amounts and classes."""
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


def test_it_says_how_it_samples_when_only_the_old_options_are_asked(client: Client, request_: dict[str, Any]) -> None:
    client.send(request_)
    opening = client.until("sampling")
    client.until("done")
    own = {name: opening[name] for name in ("sampler", "guidance", "shift", "labels", "evaluations")}
    assert own == {"sampler": "mix", "guidance": 1.0, "shift": 1.0, "labels": None, "evaluations": 3}


def test_samples_that_are_not_finite_are_an_error_and_no_picture(client: Client, with_classes: Path) -> None:
    client.send({"do": "sample", "id": 9, "model": str(with_classes), "n": 1, "steps": 3, "seed": 0, "guidance": 1e300})
    while (message := client.reply())["event"] in ("ready", "sampling", "step"):
        pass
    assert (message["event"], message["id"]) == ("error", 9)
    assert "the samples are not finite" in message["message"]


@pytest.mark.parametrize(
    ("asked", "said", "options"),
    [
        ({}, {"labels": [0, 1], "guidance": GUIDANCE, "contrast": CONTRAST}, {}),
        ({"label": None, "sampler": None}, {"labels": [0, 1]}, {}),
        ({"label": -1, "guidance": 2}, {"labels": [-1, -1], "guidance": 1.0, "evaluations": 3}, {"labels": -1}),
        (
            {"label": 7, "guidance": 2, "sampler": "heun", "shift": 1.5, "contrast": 0.1},
            {"labels": [7, 7], "guidance": 2.0, "sampler": "heun", "shift": 1.5, "contrast": 0.1, "evaluations": 7},
            {"labels": 7, "guidance": 2.0, "sampler": "heun", "shift": 1.5, "contrast": 0.1},
        ),
    ],
)
def test_it_samples_as_asked_and_says_how(
    client: Client,
    request_: dict[str, Any],
    with_classes: Path,
    asked: dict[str, Any],
    said: dict[str, Any],
    options: dict[str, Any],
) -> None:
    client.send({**request_, "model": str(with_classes), **asked})
    opening = client.until("sampling")
    assert {name: opening[name] for name in said} == said
    expected = record(sample(load_model(with_classes, "cpu"), n=2, steps=3, seed=5, **options), model="", seed=5)
    for frame in expected.frames:
        assert client.reply()["index"] == frame.index
        wanted = frame.x + (frame.prediction or b"")
        assert max(abs(a - b) for a, b in zip(client.payload, wanted, strict=True)) <= 1
    client.until("done")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": "hein"}, "did you mean heun"),
        ({"sampler": "diffusers:DDIMScheduler"}, "does not support the path flow"),
        ({"sampler": 5}, "no sampler '5'"),
        ({"guidance": -1}, "guidance must be"),
        ({"guidance": "much"}, "much"),
        ({"shift": 0}, "shift must be"),
        ({"label": 10}, "not 10"),
        ({"label": [1]}, "TypeError"),
    ],
)
def test_a_bad_option_is_answered_in_words(
    client: Client, request_: dict[str, Any], with_classes: Path, changes: dict[str, Any], words: str
) -> None:
    client.send({**request_, "model": str(with_classes), "id": 30, **changes})
    error = client.reply()
    assert (error["event"], error["id"]) == ("error", 30)
    assert words in error["message"]
    assert len(error["message"].splitlines()) == 1


@pytest.mark.parametrize("changes", [{"label": 3}, {"guidance": 2}])
def test_a_class_asked_of_a_model_without_classes_is_answered_in_words(
    client: Client, request_: dict[str, Any], changes: dict[str, Any]
) -> None:
    client.send({**request_, **changes})
    assert "without classes" in client.reply()["message"]


def test_an_answer_that_takes_long_brings_signs_of_life(client: Client, request_: dict[str, Any]) -> None:
    began, known = time.monotonic(), client.signs_of_life
    client.send({**request_, "id": 9, "steps": 100_000})
    while client.signs_of_life < known + 2:
        client.until("step")
        assert time.monotonic() - began < 60
    client.send({**request_, "id": 10})
    assert client.until("done")["id"] == 10


def test_a_newer_request_ends_the_one_under_way(client: Client, request_: dict[str, Any]) -> None:
    client.send({**request_, "id": 10, "steps": 100_000})
    client.until("step")
    client.send({**request_, "id": 11})
    assert client.until("cancelled")["id"] == 10
    assert client.until("done")["id"] == 11


def test_of_many_requests_at_once_only_the_last_is_answered(client: Client, request_: dict[str, Any]) -> None:
    client.send(*({**request_, "id": number, "steps": 5000} for number in range(20, 25)), {**request_, "id": 25})
    cancelled = []
    while (message := client.reply())["event"] != "done":
        if message["event"] == "cancelled":
            cancelled.append(message["id"])
    assert message["id"] == 25
    assert cancelled == [20, 21, 22, 23, 24]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "nothing"}, "there is no model 'nothing'"),
        ({"model": 5}, "there is no model '5'"),
        ({"device": "cuda:93"}, "cuda:93"),
        ({"device": 5}, "unknown device"),
        ({"n": 0}, "n must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"n": "many"}, "many"),
        ({"n": 1e400}, "OverflowError"),
        ({"seed": None}, "TypeError"),
        ({"n": [1]}, "TypeError"),
        ({"root": ["x"]}, "there is no model"),
    ],
)
def test_a_bad_request_is_answered_in_words_and_the_next_one_works(
    client: Client, request_: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    client.send({**request_, "id": 30, **changes})
    error = client.reply()
    assert (error["event"], error["id"]) == ("error", 30)
    assert words in error["message"]
    assert len(error["message"].splitlines()) == 1
    client.send({**request_, "id": 31})
    assert client.until("done")["id"] == 31


def test_a_request_that_lacks_something_is_answered_in_words(client: Client, request_: dict[str, Any]) -> None:
    del request_["seed"]
    client.send(request_)
    assert "'seed'" in client.reply()["message"]


@pytest.mark.parametrize("line", [b"\n", b"{\n", b"5\n", b"null\n", b"[1, 2]\n", b"[[1, 2]]\n", b"\xff\xfe\n", b"{}\n"])
def test_a_line_that_is_no_request_is_passed_over(client: Client, request_: dict[str, Any], line: bytes) -> None:
    client.send(line)
    client.send({**request_, "id": 40})
    assert client.until("done")["id"] == 40


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 60_000 + b"\n",
        b'{"do": "sample", "id": ' + b"[" * 60_000 + b"\n",
        b'{"do": "sample", "id": ' + b"9" * 5000 + b"}\n",
        b'{"do": "sample", "id": [1]}\n',
        b'{"do": {}, "id": 1}\n',
        b'{"do": "sample", "id": 1, "model": "' + b"x" * 1_000_000 + b'"}\n',
    ],
)
def test_a_line_nested_too_deeply_or_too_long_asks_for_nothing_and_the_next_is_answered(
    client: Client, request_: dict[str, Any], line: bytes
) -> None:
    client.send(line)
    client.send({**request_, "id": 41})
    assert client.reply()["id"] == 41
    client.until("done")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n": 10**9}, "n must be at most 1,024"),
        ({"n": 10**9, "real": 0, "amount": 0.5}, "n must be at most 1,024"),
        ({"n": 10**4000}, "n must be at most 1,024"),
        ({"steps": 10**9}, "steps must be at most 100,000"),
        ({"do": "lab"}, "'digit'"),
        ({"do": "lab", "bench": "inside", "digit": {"pixels": "00"}}, "784 pixels, not 1"),
        ({"do": "lab", "bench": "inside", "digit": {"dataset": "x\x1b[2J", "index": 0}}, "there is no data set"),
        ({"do": "lab", "bench": "inside", "digit": {"pixels": "00" * 784}, "seed": 0, "amount": 0.5, "layer": None,
          "pixel": [], "skips": True}, "IndexError"),
        ({"do": "lab", "bench": "corruption", "digit": {"pixels": "00" * 784}, "steps": 101}, "at most 100 steps"),
    ],
)  # fmt: skip
def test_a_request_for_more_than_a_machine_has_is_refused_at_once(
    client: Client, request_: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    client.send({**request_, "id": 30, **changes})
    error = client.reply()
    assert (error["event"], error["id"]) == ("error", 30)
    assert words in error["message"]
    assert error["message"].isprintable()


def test_a_model_is_read_again_when_its_file_has_changed(
    client: Client, request_: dict[str, Any], tmp_path: Path
) -> None:
    from core import TrainConfig, build_model
    from core.models.weights import write_tensors

    for channels in ((2,), (3,)):
        config = TrainConfig(preset="quick", channels=channels)
        net = build_model(config.model, **config.model_options)
        write_tensors(tmp_path / "m.safetensors", "model", net.state_dict(), config, 1)
        client.send({**request_, "model": str(tmp_path / "m.safetensors")})
        opening = client.until("sampling")
        assert opening["parameters"] == sum(parameter.numel() for parameter in net.parameters())
        client.until("done")


def test_it_ends_with_its_stdin_even_while_it_samples(client: Client, request_: dict[str, Any]) -> None:
    client.send({**request_, "id": 50, "steps": 100_000})
    client.until("step")
    assert client.end() == 0


def test_what_libraries_print_does_not_reach_the_replies() -> None:
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
    assert client.reply()["event"] == "ready"
    assert client.end() == 0


def test_it_opens_no_port() -> None:
    client = Client(["-m", "core.engine.server"])
    assert client.reply()["event"] == "ready"
    sockets = [one for one in psutil.net_connections("all") if one.pid == client.process.pid]
    assert sockets == []
    assert client.end() == 0
