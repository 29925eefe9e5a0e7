"""The engine's client: one process that samples and serves the lab, asked by lines of JSON and heard as messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textual.message import Message

from core.runs.trajectory import Denoising, Frame
from core.system import subprocesses
from core.system.safe_io import parse_json
from core.text import sanitize
from tui import arrays
from tui.messages import (
    BenchShown,
    EngineDied,
    EngineReady,
    EngineRefused,
    FrameSampled,
    SamplingFinished,
    SamplingStarted,
)

PAYLOAD_BYTES = 268_435_456  # of a reply; a bench's arrays take a few million
GOODBYE_SECONDS = 0.5  # for the engine to end after its stdin did; less than the app itself is given
SILENCE_SECONDS = 10.0  # an engine that answers says so every second
LOADING_SECONDS = 180.0  # to load torch from a cold disk, in which it can say nothing
LOOK_SECONDS = 0.5  # between two looks at how long it has been silent


class EngineClient:
    """Starts the engine process when first needed, and again after it died or hung; `post` takes what it says.

    Replies to any request but the newest are dropped here. A request on which the engine died is repeated once.
    """

    def __init__(
        self, post: Callable[[Message], object], root: Path, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self._post = post
        self._root = root
        self._patience = silence_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._listeners: set[asyncio.Task[None]] = set()
        self._id = 0
        self._pixels = 0  # of the images that are sampled, all of them
        self._request: bytes | None = None  # the newest, until it is answered
        self._ready = False
        self._silent = 0.0  # seconds, by looks: the clock also runs while the screen itself is stopped
        self._expected = asyncio.Event()  # whether something should be heard
        self._revived = False  # whether it was started anew since the last request or answer

    def redirect(self, post: Callable[[Message], object]) -> Callable[[Message], object]:
        """Let `post` take what is said from now on; returns who took it before, and whose request is dropped."""
        before, self._post = self._post, post
        self._id += 1
        self._request = None
        if self._ready:
            self._expected.clear()
        return before

    @property
    def busy(self) -> bool:
        """Whether it has still to answer a request."""
        return self._request is not None

    @property
    def running(self) -> bool:
        """Whether the process is there, ready or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process's id, None while there is none."""
        return self._process.pid if self._process is not None and self.running else None

    async def start(self) -> None:
        """Start the process, if it is not running; it says `EngineReady` once torch is loaded."""
        async with self._starting:
            if self.running:
                return
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *subprocesses.command("core.engine.server"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env=subprocesses.environment(),
                    start_new_session=True,  # Ctrl-C in the terminal is the screen's alone; it ends with its stdin
                )
            except OSError as error:
                self._post(
                    EngineDied(f"cannot start the engine: {error.strerror}; free memory and press enter to try again")
                )
                return
            self._ready, self._silent = False, 0.0
            self._expected.set()
            listener = asyncio.create_task(self._listen(self._process))
            self._listeners.add(listener)
            listener.add_done_callback(self._listeners.discard)

    async def sample(
        self,
        model: str,
        *,
        n: int,
        steps: int,
        seed: int,
        sampler: str | None = None,
        guidance: float | None = None,
        label: int | None = None,
        real: int | None = None,
        t: float = 1.0,
        device: str = "auto",
    ) -> None:
        """Ask for a denoising; it takes the place of one under way. What is None is left to the model.

        With `real` it starts from the data set's test images, that one and those after it, noised to `amount`.
        """
        request = {"model": model, "n": n, "steps": steps, "seed": seed, "device": device}
        options = {"sampler": sampler, "guidance": guidance, "label": label}
        if real is not None:
            options |= {"real": real, "amount": t}
        await self._ask("sample", request | {name: value for name, value in options.items() if value is not None})

    async def show(self, bench: str, request: Mapping[str, Any]) -> None:
        """Ask for what a bench of the lab shows; it takes the place of anything under way.

        The lab looks at one digit at a time, for which a processor is enough: no GPU's memory is taken for it.
        """
        await self._ask("lab", {"bench": bench, "device": "cpu", **request})

    async def _ask(self, do: str, request: Mapping[str, Any]) -> None:
        self._id += 1
        line = json.dumps({"do": do, "id": self._id, **request, "root": str(self._root.resolve())}) + "\n"
        if self._request is None and self._ready:
            self._silent = 0.0
        self._request, self._revived = line.encode(), False
        await self._send(self._request)

    async def _send(self, request: bytes) -> None:
        await self.start()
        if request is not self._request:
            return  # a newer one came meanwhile
        self._expected.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(request)
            with contextlib.suppress(ConnectionError):  # it just died: the listener says so
                await self._process.stdin.drain()

    async def stop(self) -> None:
        """End the process by ending its stdin."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if not self._ready:  # it would load torch to the end first
            process.kill()
        try:
            await asyncio.wait_for(process.wait(), GOODBYE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                process.kill()
            await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        minder = asyncio.create_task(self._mind(process))
        fate = ""
        try:
            await self.read_replies(process.stdout)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # cut off in the middle of a reply: told below
        except ValueError as error:
            process.kill()
            fate = sanitize(f"the engine said something that cannot be read ({error})")
        code = await process.wait()
        if minder.done():
            fate = f"the engine gave no sign of life for {self._silent:.0f} s and was ended"
        minder.cancel()
        if process is self._process:  # not told to stop
            self._process = None
            by_signal = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            await self._revive(fate or f"the engine {by_signal}")

    async def _mind(self, process: asyncio.subprocess.Process) -> None:
        """Return once the process has been silent for too long, and was killed for it."""
        while await self._expected.wait():
            await asyncio.sleep(LOOK_SECONDS)
            self._silent += LOOK_SECONDS
            if self._expected.is_set() and self._silent >= (self._patience if self._ready else LOADING_SECONDS):
                with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                    process.kill()
                return

    async def _revive(self, fate: str) -> None:
        """Say what became of the process, and start another, unless that was tried since the last request or answer."""
        request = self._request
        if self._revived:
            self._request = None
            again = "again on the same request; change it, or" if request else "again;"
            self._post(
                EngineDied(f"{fate}, {again} press enter to try once more; `minidiff doctor` looks for the cause")
            )
            return
        self._revived = True
        self._post(EngineDied(f"{fate}; another is started{' and asked again' if request else ''}", restarted=True))
        if request is None:
            await self.start()
        else:
            await self._send(request)

    def _answered(self) -> None:
        self._request, self._revived = None, False
        self._expected.clear()

    async def read_replies(self, replies: asyncio.StreamReader) -> None:
        """Post what the engine says, to the end of it.

        Raises:
            ValueError: it says something that is no reply.
            asyncio.IncompleteReadError: it ends in the middle of one.
        """
        while line := await replies.readline():
            self._silent = 0.0
            reply = parse_json(line)
            try:
                size = reply.get("bytes", 0)
                if size > PAYLOAD_BYTES:
                    raise ValueError(f"{size:,} bytes at once")
                self._handle(reply, await replies.readexactly(size))
            except (LookupError, TypeError, AttributeError) as error:
                raise ValueError(str(error)) from None

    def _handle(self, reply: dict[str, Any], payload: bytes) -> None:
        event = reply["event"]
        if event == "ready":
            self._ready = True
            if self._request is None:
                self._expected.clear()
            self._post(EngineReady(reply["device"], reply["seconds"]))
        elif event == "error" and reply.get("id") in (None, self._id):
            self._answered()
            self._post(EngineRefused(reply["message"]))
        elif reply.get("id") != self._id:
            return
        elif event == "sampling":
            size = {key: reply[key] for key in ("model", "seed", "steps", "n", "height", "width")}
            self._pixels = reply["n"] * reply["height"] * reply["width"]
            labels = reply["labels"]
            self._post(
                SamplingStarted(
                    Denoising(**size, frames=()),
                    reply["parameters"],
                    reply["device"],
                    reply["sampler"],
                    reply["guidance"],
                    None if labels is None else tuple(labels),
                    reply["evaluations"],
                )
            )
        elif event == "step":
            index = reply["index"]
            if len(payload) != self._pixels * (2 if index else 1):
                raise ValueError(f"pictures of {len(payload):,} bytes where {self._pixels:,} pixels were announced")
            half = len(payload) if index == 0 else len(payload) // 2
            read = reply["read"] and tuple((label, sure) for label, sure in reply["read"])
            seen = payload[half:] if index else None
            self._post(FrameSampled(Frame(index, reply["amount"], payload[:half], seen, read)))
        elif event == "shown":
            self._answered()
        elif event == "done":
            self._answered()
            self._post(SamplingFinished(reply["seconds"]))
        elif event == "bench":
            self._post(BenchShown(reply["bench"], reply, arrays.read(reply["arrays"], payload)))
