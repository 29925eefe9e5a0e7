"""The engine: a process beside the screen that loads torch once, and denoises or serves the lab on request.

Requests come as JSON lines on stdin, replies go out on stdout: a JSON object a line, followed by as many raw bytes as
its `bytes` says. While it loads torch or answers, it says every second that it is alive, so that silence tells a hang.
It ends with its stdin, so that it never outlives its screen.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, get_type_hints

from core.errors import MinidiffError
from core.system.safe_io import parse_json
from core.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from core.data.datasets import Dataset
    from core.diffusion.frames import Classify
    from core.diffusion.loaded_model import LoadedModel
    from core.engine.lab_replies import Digit

REAL = 1_000  # test images to start from
REQUEST_BYTES = 65_536  # of a line; a digit that was drawn takes 1,600
MOST_IMAGES = 1_024  # at once; the screen asks for 64 at most
BEAT_SECONDS = 1.0  # between two signs of life


class EngineServer:
    """Answers requests one after another; a newer one ends the one that is under way."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies
        self._replying = threading.Lock()
        self._busy = threading.Event()
        self._waiting: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._loaded: tuple[tuple[str, str, int, int], LoadedModel] | None = None
        self._readers: dict[str, Classify | None] = {}  # by data set; None where there is no classifier for it
        self._real: dict[str, Dataset] = {}  # test images, by data set

    def serve(self) -> None:
        """Load torch, say that it is ready, and answer until stdin ends."""
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        self._busy.set()
        began = time.monotonic()
        from core.compute.device import pick_device

        self._reply({"event": "ready", "device": str(pick_device()), "seconds": round(time.monotonic() - began, 3)})
        self._busy.clear()
        while (request := self._waiting.get()) is not None:
            if self._waiting.empty():
                self._busy.set()
                self.answer(request)
                self._busy.clear()
            else:
                self._reply({"event": "cancelled", "id": request.get("id")})

    def _read(self) -> None:
        whole = True  # whether the next piece begins a line
        while piece := self._requests.readline(REQUEST_BYTES):
            ends = piece.endswith(b"\n")
            if whole and ends and (request := asked(piece)) is not None:
                self.ask(request)
            whole = ends
        self._waiting.put(None)

    def ask(self, request: dict[str, Any]) -> None:
        """Let a request be answered next; it ends the one under way."""
        self._waiting.put(request)

    def _beat(self) -> None:
        with contextlib.suppress(OSError):  # the screen is gone
            while self._busy.wait():
                time.sleep(BEAT_SECONDS)
                if self._busy.is_set():
                    self._reply({"event": "alive"})

    def answer(self, request: dict[str, Any]) -> None:
        """Answer a request, until a newer one is there; whatever is wrong with it is answered in one line."""
        number = request.get("id")
        try:
            if request["do"] == "lab":
                self._show_bench(request)
            else:
                self._denoise(request)
        except MinidiffError as error:
            self._reply({"event": "error", "id": number, "message": str(error)})
        except KeyError as error:
            self._reply({"event": "error", "id": number, "message": f"the request has no {error}"})
        # What torch raises, a file that vanished, or values that make no sense.
        except (RuntimeError, OSError, TypeError, ValueError, LookupError, ArithmeticError, MemoryError) as error:
            words = f"{type(error).__name__}: {error}".splitlines()[0]
            self._reply({"event": "error", "id": number, "message": sanitize(words)})

    def _denoise(self, request: dict[str, Any]) -> None:
        from core.config.sampling import Sampling, evaluations, resolve_sampling
        from core.diffusion.frames import to_frame
        from core.diffusion.sampling import noised, sample

        number = request["id"]
        loaded = self._model(request)
        n, seed = int(request["n"]), int(request["seed"])
        if n > MOST_IMAGES:
            raise MinidiffError(f"n must be at most {MOST_IMAGES:,}, not {n}")
        kinds: dict[str, Callable[[Any], Any]] = get_type_hints(Sampling)
        options = {name: kind(request[name]) for name, kind in kinds.items() if request.get(name) is not None}
        if request.get("label") is not None:
            options["labels"] = int(request["label"])
        if request.get("real") is not None:
            images = self._images(loaded.config.dataset, int(request["real"]), n)
            options["start_amount"] = t = float(request["amount"])
            options["start"] = noised(loaded, images.images.float().div(255), t, seed)
            if loaded.config.class_conditional:
                options["labels"] = images.labels
        walk = sample(loaded, n=n, seed=seed, **options)
        settled = {name: value for name, value in options.items() if not name.startswith("start")}
        reader = self._reader(loaded.config.dataset)
        chosen, labels = resolve_sampling(loaded.config, n, **settled)
        began = time.monotonic()
        for step in walk:
            if step.index == 0:
                height, width = step.x.shape[2:]
                said = {
                    "model": str(request["model"]),
                    "seed": seed,
                    "n": n,
                    "height": height,
                    "width": width,
                    **asdict(chosen),
                    "labels": labels,
                    "evaluations": evaluations(chosen, loaded.config.path),
                }
                size = sum(parameter.numel() for parameter in loaded.net.parameters())
                self._reply(
                    {"event": "sampling", "id": number, **said, "parameters": size, "device": str(loaded.device)}
                )
            frame = to_frame(step, reader)
            payload = frame.x + (frame.prediction or b"")
            record = {"index": frame.index, "amount": frame.t, "read": frame.read}
            self._reply({"event": "step", "id": number, **record}, payload)
            if not self._waiting.empty():
                self._reply({"event": "cancelled", "id": number})
                return
        self._reply({"event": "done", "id": number, "seconds": round(time.monotonic() - began, 3)})

    def _show_bench(self, request: dict[str, Any]) -> None:
        """Answer what a bench of the lab shows, piece by piece; values of its arrays follow as float32."""
        from core.engine.lab_replies import answers

        number = request["id"]
        for message, arrays in answers(
            request, self._digit(request["digit"]), partial(self._model, request), self._read_as
        ):
            values = b"".join(array.float().contiguous().numpy().tobytes() for array in arrays.values())
            shapes = {name: list(array.shape) for name, array in arrays.items()}
            self._reply({"event": "bench", "id": number, **message, "arrays": shapes}, values)
            if not self._waiting.empty():
                self._reply({"event": "cancelled", "id": number})
                return
        self._reply({"event": "shown", "id": number})

    def _digit(self, asked: dict[str, Any]) -> Digit:
        """The digit that a bench works on: one of a data set's test images, or 784 bytes that were drawn."""
        import torch

        from core.config.datasets import IMAGE_SIZE
        from core.engine.lab_replies import Digit

        if "pixels" in asked:
            drawn = bytearray.fromhex(asked["pixels"])
            if len(drawn) != IMAGE_SIZE**2:
                raise MinidiffError(f"a digit has {IMAGE_SIZE**2} pixels, not {len(drawn)}")
            return Digit(torch.frombuffer(drawn, dtype=torch.uint8).reshape(IMAGE_SIZE, IMAGE_SIZE).float() / 255, None)
        found = self._images(asked["dataset"], int(asked["index"]), 1)
        return Digit(found.images[0, 0].float() / 255, int(found.labels[0]))

    def _model(self, request: dict[str, Any]) -> LoadedModel:
        return self._load(str(request["model"]), str(request.get("device") or "auto"), str(request.get("root") or ""))

    def _read_as(self, model: LoadedModel, images: Tensor) -> list[tuple[int, int]] | None:
        from core.diffusion.frames import quantized

        reader = self._reader(model.config.dataset)
        return None if reader is None else list(reader(quantized(images)))

    def _reader(self, dataset: str) -> Classify | None:
        from core.evaluation.feature_classifiers import available_classifier, classify

        if dataset not in self._readers:
            classifier = available_classifier("conv", dataset)
            self._readers[dataset] = None if classifier is None else partial(classify, classifier)
        return self._readers[dataset]

    def _images(self, dataset: str, first: int, n: int) -> Dataset:
        """`n` test images of a data set on this machine, from the one at `first` on, around its end if need be."""
        from core.data.datasets import Dataset, load_local

        if dataset not in self._real:
            self._real[dataset] = load_local(dataset, limit=REAL)
        known = self._real[dataset]
        at = [(first + i) % len(known.images) for i in range(n)]
        return Dataset(known.images[at], known.labels[at])

    def _load(self, name: str, device: str, root: str) -> LoadedModel:
        """The model, read again only when its file has changed: a run that is training writes a better one."""
        from core.diffusion.loaded_model import find_model, load_model
        from core.runs.directory import root_directory

        file = find_model(name, root_directory(root))
        key = (str(file), device, file.stat().st_mtime_ns, file.stat().st_ino)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # two models at once could be too many for a small GPU
            self._loaded = (key, load_model(name, device, root or None))
        return self._loaded[1]

    def _reply(self, message: dict[str, Any], payload: bytes = b"") -> None:
        if payload:
            message = {**message, "bytes": len(payload)}
        with self._replying:
            self._replies.write(json.dumps(message).encode() + b"\n" + payload)
            self._replies.flush()


def asked(line: bytes) -> dict[str, Any] | None:
    """The request that a line holds, or None for what asks for nothing that can be answered."""
    try:
        request = parse_json(line)
    except ValueError:
        return None
    if not isinstance(request, dict) or request.get("do") not in ("sample", "lab"):
        return None
    return request if type(request.get("id")) in (int, type(None)) else None


def main() -> None:
    """Serve on this process's stdin and stdout; what libraries print goes to stderr instead of into the replies."""
    signal.signal(
        signal.SIGINT, signal.SIG_DFL
    )  # it has nothing to put in order, and a traceback tells nobody anything
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):  # the screen is gone
        EngineServer(sys.stdin.buffer, replies).serve()
    os._exit(0)  # the reader thread may still be blocked on stdin


if __name__ == "__main__":
    main()
