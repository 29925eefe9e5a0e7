"""Fuzzes each reader of untrusted input with damaged valid input: `python tests/fuzz_targets.py NAME COUNT`.

Each input must give a value or a MinidiffError within `SECONDS`, and allocate at most `MEGABYTES`. The result is
printed as one line of JSON; a failure ends the process with a traceback.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import io
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mutations import altered, as_json, mutated

from core.errors import MinidiffError

SECONDS = 1.0
MEGABYTES = 256
GUARD_BYTES = 4 * 2**30  # of address space: larger allocations fail without harming the machine
SEED = 20_261_126

TYPES = ("float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float64", "int8", "int64", "bool", "complex64")
Feed = Callable[[random.Random], object]  # generates one input and passes it to the target


def events(folder: Path) -> Feed:
    """A log: parsed by line, as a growing file, as history and descriptions, and as the summary of its run."""
    from core.config.training import TrainConfig
    from core.runs.directory import EVENTS
    from core.runs.events import from_line
    from core.runs.history import LogTail, RunHistory, in_words
    from core.runs.status import summarize
    from core.training.api import train

    tiny = TrainConfig(
        preset="quick", dataset="glyphs", limit=32, batch_size=32, channels=(2, 2), epochs=1, device="cpu", threads=1,
        root=folder, name="a",
    )  # fmt: skip
    for _ in train(tiny):
        pass
    run, log = folder / "a", folder / "a" / EVENTS
    whole = log.read_bytes()
    for kind, more in (("warning", {"message": "hm"}), ("evaluated", {"n": 2, "frechet": 1.0, "agreement": 0.5})):
        whole += as_json({"event": kind, "time": 1.7e9, "epoch": 1, "step": 1, "seconds": 1.0, **more}) + b"\n"
    records = [json.loads(line) for line in whole.splitlines()]

    def feed(rng: random.Random) -> object:
        if rng.random() < 0.5:
            chosen = [altered(record, rng) if rng.random() < 0.4 else record for record in records]
            content = b"\n".join(map(as_json, chosen)) + b"\n"
        else:
            content = mutated(whole, rng)
        for line in content.decode("utf-8", errors="replace").split("\n"):
            from_line(line)
        tail, history, cut = LogTail(log), RunHistory(), rng.randrange(len(content) + 1)
        for part in (content[:cut], content):
            log.write_bytes(part)
            new, restarted = tail.read()
            history = RunHistory() if restarted else history
            history.extend(new)
            words = [in_words(event) for event in new]
            assert all(word.isprintable() for word in words)
        return history.step, history.total_steps, history.seconds_left, summarize(run)

    return feed


def checkpoint(folder: Path) -> Feed:
    """Weights, which are loaded, and states, whose runs are resumed to the end: see `damaged_checkpoint`."""
    import torch

    from core.config.training import TrainConfig
    from core.diffusion.loaded_model import load_model
    from core.models.registry import build_model
    from core.models.weights import write_tensors
    from core.runs.events import Finished, Progress
    from core.training.api import resume, train
    from core.training.state import read_state

    torch.set_num_threads(1)
    models = []
    for config in (
        TrainConfig(preset="quick", channels=(2, 2)),
        TrainConfig(channels=(16, 16)),
        TrainConfig(preset="tutorial", channels=(32,), layers_per_block=1),
    ):
        net = build_model(config.model, **config.model_options)
        write_tensors(folder / "valid", "model", net.state_dict(), config, 3)
        models.append((folder / "valid").read_bytes())
    steps = 4  # of each run; the first is already done
    for name, options in (("adam", {}), ("muon", {"optimizer": "muon", "ema": 0.1, "channels": (16, 16)})):
        started = TrainConfig(
            **{"preset": "quick", "channels": (2, 2), "dataset": "glyphs", "limit": 32, "batch_size": 16, "epochs": 2,
               "device": "cpu", "threads": 1, "root": folder / "runs", "name": name, **options}
        )  # fmt: skip
        events = train(started)
        next(event for event in events if isinstance(event, Progress))
        events.close()
    runs = sorted((folder / "runs").iterdir())

    def feed(rng: random.Random) -> object:
        if rng.random() < 0.5:
            path = folder / "damaged"
            path.write_bytes(damaged_checkpoint(rng.choice(models), rng))
            if rng.random() < 0.1:
                return read_state(path)
            loaded = load_model(path, device="cpu")
            assert types_of(path.read_bytes()) <= {"F32", "F16", "BF16"}
            return loaded
        run, copy = rng.choice(runs), folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        state = copy / "state.safetensors"
        state.write_bytes(damaged_checkpoint(state.read_bytes(), rng))
        events = resume(copy)
        event = next(events)
        limit = max(steps, getattr(event, "step", 0))  # a state may have a wrong step, but the run has to end
        for event in events:
            assert getattr(event, "step", 0) <= limit
        assert isinstance(event, Finished)
        return event

    return feed


def types_of(content: bytes) -> set[str]:
    """The dtypes of all tensors in the header of a checkpoint."""
    head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return {entry["dtype"] for name, entry in head.items() if name != "__metadata__"}


def damaged_checkpoint(whole: bytes, rng: random.Random) -> bytes:
    """Damage any bytes, the header (bytes or JSON), config, progress, or tensor dtypes, shapes, names or values."""
    import safetensors.torch
    import torch

    length = int.from_bytes(whole[:8], "little")
    head, rest = whole[8 : 8 + length], whole[8 + length :]
    record = json.loads(head)
    match rng.randrange(6):
        case 0:
            return mutated(whole, rng)
        case 1:
            head = mutated(head, rng)
        case 2:
            head = as_json(altered(record, rng))
        case 3 | 4 as part:
            key = ("config", "more")[part - 3]
            value = altered(json.loads(record["__metadata__"][key]), rng)
            if isinstance(value, dict) and "epoch" in value and rng.random() < 0.3:
                value["epoch"] = altered(value["epoch"], rng, (-(10**9), -1, 3, 10**9, 0.5, "1"))
            record["__metadata__"][key] = as_json(value).decode("utf-8", errors="replace")
            head = as_json(record)
        case _:
            tensors = safetensors.torch.load(whole)
            damage, dtype = rng.choice(("type", "shape", "name", "value")), getattr(torch, rng.choice(TYPES))
            for name in rng.choice((list(tensors), rng.choices(list(tensors), k=rng.choice((1, 1, 2))))):
                if name not in tensors:  # chosen twice, and already renamed
                    continue
                value = tensors[name]
                match damage:
                    case "type":
                        tensors[name] = value.to(dtype)
                    case "shape":
                        tensors[name] = rng.choice((value.flatten(), value[None], torch.zeros(3), torch.zeros(())))
                    case "name":
                        tensors[other_name(name, rng)] = value.clone() if rng.random() < 0.5 else tensors.pop(name)
                    case "value":
                        tensors[name] = torch.full_like(value, rng.choice((torch.nan, torch.inf, -1.0, 1e30)))
            return safetensors.torch.save(tensors, record["__metadata__"])
    return len(head).to_bytes(8, "little") + head + rest


def other_name(name: str, rng: random.Random) -> str:
    """The name of a tensor with one part removed or replaced by another number or word."""
    parts = name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isdigit()]
    at = rng.choice(numbers if numbers and rng.random() < 0.5 else range(len(parts)))
    word = rng.choice(("", "999", str(10**20), "-1", "x", "exp_avg", "step", "muon", "optimizer", "net"))
    return ".".join(rng.choice((parts[:at], parts[:at] + parts[at + 1 :], [*parts[:at], word, *parts[at + 1 :]])))


def idx(folder: Path) -> Feed:
    """Images and labels, raw and gzipped."""
    from core.data.idx import header, read_idx

    shapes = ((20, 28, 28), (20,))
    valid = [(shape, header(shape) + random.Random(0).randbytes(20 * (784 if shape[1:] else 1))) for shape in shapes]

    bomb = gzip.compress(bytes(2**28), 1)

    def feed(rng: random.Random) -> object:
        shape, content = rng.choice(valid)
        match rng.randrange(4):
            case 0:
                content = mutated(content, rng)
            case 1:
                content = mutated(content[:16], rng) + content[16:]
            case 2:
                content = mutated(gzip.compress(content, 1), rng)
            case _:
                content = gzip.compress(mutated(content, rng), 1) + rng.choice((b"", bomb))
        path = folder / "idx"
        path.write_bytes(content)
        return read_idx(path, shape)

    return feed


def config(folder: Path) -> Feed:
    """A config.toml, and the network it describes."""
    import tomli_w

    from core.config.training import TrainConfig
    from core.models.registry import build_meta_model
    from core.runs.directory import config_options

    valid = [TrainConfig(), TrainConfig(preset="quick"), TrainConfig(preset="tutorial", data_root="/data", name="a")]

    def feed(rng: random.Random) -> object:
        chosen = rng.choice(valid)
        content = chosen.to_toml().encode()
        if rng.random() < 0.5:
            values = altered(chosen.model_dump(mode="json", exclude_none=True), rng)
            try:
                content = tomli_w.dumps(values).encode("utf-8", errors="surrogatepass")
            except (TypeError, AttributeError, RecursionError, ValueError):  # not representable in TOML
                content = mutated(content, rng)
        else:
            content = mutated(content, rng)
        (folder / "config.toml").write_bytes(content)
        config_options(folder)
        read = TrainConfig.from_toml(folder / "config.toml")
        read.to_toml()
        return build_meta_model(read.model, **read.model_options)

    return feed


def engine(folder: Path) -> Feed:
    """Damaged requests to the engine, and its damaged replies to the UI."""
    import torch

    from core.config.training import TrainConfig
    from core.engine.codec import decode_request, encode
    from core.engine.lab_messages import (
        ConvolutionRequest,
        CorruptionRequest,
        InsideRequest,
        LayerKernel,
        TransposedRequest,
    )
    from core.engine.protocol import DrawnImage, SampleRequest
    from core.engine.server import EngineServer
    from core.engine.training_messages import TrainingRequest
    from core.models.registry import build_model
    from core.models.weights import write_tensors

    torch.set_num_threads(1)
    for name, options in (("a", {"preset": "quick", "channels": (2, 2)}), ("b", {"channels": (16, 16)})):
        trained = TrainConfig(**options)
        net = build_model(trained.model, **trained.model_options)
        (folder / name).mkdir()
        write_tensors(folder / name / "model.safetensors", "model", net.state_dict(), trained, 1)
    common: dict[str, Any] = {"id": 1, "model": "a", "root": str(folder), "device": "cpu"}
    lab = {**common, "image": DrawnImage(bytes(range(196)).hex() * 4), "seed": 0}
    layer = next(name for name, _ in net.named_modules() if name)
    kernel = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))
    geometry = {"stride": 1, "padding": 1, "dilation": 1}
    valid = [
        json.loads(encode(request))
        for request in (
            SampleRequest(**common, n=2, steps=3, seed=5),
            SampleRequest(**{**common, "model": "b"}, n=3, steps=2, seed=1, label=3, guidance=2.0, sampler="heun"),
            ConvolutionRequest(**lab, **geometry, kernel=kernel, padding_mode="zeros", flip=False),
            ConvolutionRequest(**lab, **geometry, kernel=LayerKernel(layer, 0, 0), padding_mode="reflect", flip=True),
            TransposedRequest(**lab, **{**geometry, "stride": 2}, kernel=kernel, side=4),
            CorruptionRequest(**lab, steps=2, label=None, first=20),
            TrainingRequest(**{**lab, "model": "b"}, steps=1, batch_size=2, t=0.5, learning_rate=0.001),
            InsideRequest(**{**lab, "model": "b"}, t=0.5, label=None, layer=None, pixel=(3, 4), skips=False),
        )
    ]
    replies = io.BytesIO()
    patient, hurried = EngineServer(io.BytesIO(), replies), EngineServer(io.BytesIO(), replies)
    hurried.submit(SampleRequest(model="a"))  # pending, so it cancels others after their first reply

    def feed(rng: random.Random) -> object:
        request = rng.choice(valid)
        line = as_json(altered(request, rng)) if rng.random() < 0.8 else mutated(as_json(request), rng)
        replies.seek(0)
        replies.truncate()
        read = decode_request(line)
        if read is None:
            return None
        if rng.random() < 0.8:
            hurried.handle(read)
        else:
            if isinstance(read, SampleRequest | CorruptionRequest) and (read.steps or 0) > 2:
                read = dataclasses.replace(read, steps=2)
            patient.handle(read)
        sent = replies.getvalue()
        assert sent.endswith(b"}\n") or b'"payload"' in sent
        return asyncio.run(decoded_messages(mutated(sent, rng) if rng.random() < 0.5 else sent, folder))

    return feed


async def decoded_messages(output: bytes, folder: Path) -> object:
    """The messages the UI client decodes from engine output."""
    from tui.io.engine_client import EngineClient

    replies = asyncio.StreamReader()
    replies.feed_data(output)
    replies.feed_eof()
    messages: list[object] = []
    try:
        await EngineClient(messages.append, folder).read_replies(replies)
    except (ValueError, asyncio.IncompleteReadError) as error:
        raise MinidiffError(str(error)) from None  # which the UI shows as a notification
    return messages


TARGETS = {"events": events, "checkpoint": checkpoint, "idx": idx, "config": config, "engine": engine}


def _memory(what: str) -> int:
    """Current (VmRSS) or peak (VmHWM) memory of the process in bytes; 0 if unknown."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(what)), 0)


@contextmanager
def _measured() -> Iterator[dict[str, float]]:
    """Measure duration and peak memory growth of the block."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # reset the peak to the current value
    before, began = _memory("VmRSS"), time.process_time()  # a busy machine does not count
    measured: dict[str, float] = {}
    yield measured
    measured["seconds"] = time.process_time() - began
    measured["megabytes"] = max(0, _memory("VmHWM") - before) / 2**20


def run_input(feed: Feed, number: int) -> tuple[dict[str, float], str]:
    """Feed input `number`; returns its measurements and outcome."""
    with _measured() as measured:
        words, outcome = "", "values"
        try:
            feed(random.Random(SEED * 1_000_003 + number))
        except MinidiffError as error:
            words, outcome = str(error), "refusals"
    assert words.isprintable(), words
    return measured, outcome


def main(name: str, count: int, first: int = 0) -> None:
    """Feed `count` inputs to a target, and print the results."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        feed = TARGETS[name](Path(folder))
        for number in range(-20, 0):  # warm up imports and caches
            run_input(feed, number)
        size = _memory("VmSize")
        if size:
            resource.setrlimit(resource.RLIMIT_AS, (size + GUARD_BYTES, resource.RLIM_INFINITY))
        report: dict[str, Any] = {"target": name, "inputs": count, "values": 0, "refusals": 0}
        slowest = peak = 0.0
        began = time.perf_counter()
        for number in range(first, first + count):
            try:
                measured, outcome = run_input(feed, number)
                if measured["seconds"] > SECONDS:  # retry: the machine may have been busy
                    measured, outcome = run_input(feed, number)
                assert measured["seconds"] <= SECONDS, measured
                assert measured["megabytes"] <= MEGABYTES, measured
            except BaseException as fault:
                fault.add_note(f"input {number}: python tests/fuzz_targets.py {name} 1 {number}")
                raise
            report[outcome] += 1
            slowest, peak = max(slowest, measured["seconds"]), max(peak, measured["megabytes"])
        seconds = time.perf_counter() - began
    print(
        json.dumps({**report, "seconds": round(seconds, 1), "slowest": round(slowest, 3), "megabytes": round(peak, 1)})
    )


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
