"""The client of the engine process: sends requests and posts the replies as Textual messages."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from core.engine.codec import decode_reply, encode, parse_header
from core.engine.plane_messages import PlaneReply
from core.engine.protocol import (
    DescriptionReply,
    DescriptionRequest,
    Done,
    EngineReply,
    EngineRequest,
    InversionProgress,
    LabReply,
    ModelRequest,
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
)
from core.system import subprocesses
from core.text import sanitize
from tui.messages import (
    EngineDied,
    EngineReady,
    EngineRefused,
    FrameSampled,
    ImagesInverted,
    LabReplied,
    NearestReplied,
    RunDescribed,
    SamplingFinished,
    SamplingStarted,
    SnapshotReceived,
)

LINE_BYTES = 1_048_576  # of a reply's text, with up to 1,000 class names
PAYLOAD_BYTES = 268_435_456  # of a reply; the Lab's arrays take a few million
EXIT_SECONDS = 0.5  # for the engine to exit after its stdin closed; less than the app itself is given
SILENCE_SECONDS = 10.0  # a busy engine sends a message every second
LOADING_SECONDS = 180.0  # to load torch from a cold disk, during which the engine is silent
CHECK_SECONDS = 0.5  # between two checks of how long it has been silent


class EngineClient:
    """Starts the engine process when it is first needed, and restarts it if it exits or hangs.

    Replies to all requests but the newest are dropped. A request during which the engine exited is sent once more.

    Args:
        post: called with every message; `redirect` replaces it.
        root: directory of the runs.
        silence_seconds: after this long without a message a busy engine is killed and restarted.
    """

    def __init__(
        self, post: Callable[[Message], object], root: Path, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self._post = post
        self._root = root
        self.silence_seconds = silence_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._start_lock = asyncio.Lock()
        self._readers: set[asyncio.Task[None]] = set()
        self._id = 0  # of the newest request
        self._frame_bytes = 0  # of all images of the sampling in progress
        self._request: EngineRequest | None = None  # the newest, until it is done
        self._ready = False
        self._silent = 0.0  # seconds, counted in checks: a clock would run on while the app itself is stopped
        self._expecting = asyncio.Event()  # set while the engine should be sending messages
        self._restarted = False  # since the last request or reply

    def redirect(self, post: Callable[[Message], object]) -> Callable[[Message], object]:
        """Post messages with `post` from now on, drop the request in progress, and return the previous `post`."""
        before, self._post = self._post, post
        self._id += 1
        self._request = None
        if self._ready:
            self._expecting.clear()
        return before

    def is_current(self, reply: EngineReply) -> bool:
        """Whether a reply is not one to an earlier request than the newest."""
        return reply.id in (None, self._id)

    @property
    def busy(self) -> bool:
        """Whether a request is in progress."""
        return self._request is not None

    @property
    def running(self) -> bool:
        """Whether the process exists, ready or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """The process id, None if there is no process."""
        return self._process.pid if self._process is not None and self.running else None

    async def start(self) -> None:
        """Start the process if it is not running; `EngineReady` is posted once torch is loaded."""
        async with self._start_lock:
            if self.running:
                return
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *subprocesses.command("core.engine.server"),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    limit=LINE_BYTES,
                    env=subprocesses.environment(),
                    start_new_session=True,  # Ctrl-C reaches the UI only; the engine exits with its stdin
                )
            except OSError as error:
                self._post(
                    EngineDied(f"cannot start the engine: {error.strerror}; free memory and press enter to retry")
                )
                return
            self._ready, self._silent = False, 0.0
            self._expecting.set()
            reader = asyncio.create_task(self._watch(self._process))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)

    async def sample(self, request: SampleRequest) -> None:
        """Generate samples; replaces the request in progress."""
        await self._submit(request)

    async def describe(self, request: DescriptionRequest) -> None:
        """Describe a run before it starts; replaces the request in progress."""
        await self._submit(request)

    async def find_nearest(self, request: SampleRequest) -> None:
        """Find the nearest training image of each sample of `request`; replaces the request in progress."""
        fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        await self._submit(NearestRequest(**fields))

    async def show_lab(self, request: EngineRequest) -> None:
        """Compute what a bench of the Lab displays; replaces the request in progress.

        The Lab works on one image, for which the CPU is fast enough: no GPU memory is taken.
        """
        await self._submit(dataclasses.replace(request, device="cpu") if isinstance(request, ModelRequest) else request)

    async def _submit(self, request: EngineRequest) -> None:
        self._id += 1
        if self._request is None and self._ready:
            self._silent = 0.0
        if isinstance(request, ModelRequest):
            request = dataclasses.replace(request, root=str(self._root.resolve()))
        self._request = dataclasses.replace(request, id=self._id)
        self._restarted = False
        await self._send(self._request)

    async def _send(self, request: EngineRequest) -> None:
        await self.start()
        if request is not self._request:
            return  # a newer one was submitted meanwhile
        self._expecting.set()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(encode(request))
            with contextlib.suppress(ConnectionError):  # it just exited, which `_watch` handles
                await self._process.stdin.drain()

    async def stop(self) -> None:
        """End the process by closing its stdin."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        if not self._ready:  # it would finish loading torch first
            process.kill()
        try:
            await asyncio.wait_for(process.wait(), EXIT_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it exited meanwhile
                process.kill()
            await process.wait()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Read replies until the process exits, and restart it unless `stop` ended it."""
        assert process.stdout is not None
        silence = asyncio.create_task(self._kill_if_silent(process))
        reason = ""
        try:
            await self.read_replies(process.stdout)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it exited in the middle of a reply, which is reported below
        except ValueError as error:
            process.kill()
            reason = sanitize(f"the engine sent an invalid reply ({error})")
        code = await process.wait()
        if silence.done():
            reason = f"the engine was unresponsive for {self._silent:.0f} s and was killed"
        silence.cancel()
        if process is self._process:  # not stopped by `stop`
            self._process = None
            exited = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
            await self._restart(reason or f"the engine {exited}")

    async def _kill_if_silent(self, process: asyncio.subprocess.Process) -> None:
        """Return once the process was silent for too long and has been killed."""
        while await self._expecting.wait():
            await asyncio.sleep(CHECK_SECONDS)
            self._silent += CHECK_SECONDS
            limit = self.silence_seconds if self._ready else LOADING_SECONDS
            if self._expecting.is_set() and self._silent >= limit:
                with contextlib.suppress(ProcessLookupError):  # it just exited by itself
                    process.kill()
                return

    async def _restart(self, reason: str) -> None:
        """Report why the process ended, and restart it, but only once for each request."""
        request = self._request
        if self._restarted:
            self._request = None
            what = "again on the same request; change it, or" if request else "again;"
            self._post(EngineDied(f"{reason} {what} press enter to retry; `minidiff doctor` looks for the cause"))
            return
        self._restarted = True
        retry = " and the request is retried" if request else ""
        self._post(EngineDied(f"{reason}; it is restarted{retry}", restarted=True))
        if request is None:
            await self.start()
        else:
            await self._send(request)

    def _finish_request(self) -> None:
        self._request, self._restarted = None, False
        self._expecting.clear()

    async def read_replies(self, stream: asyncio.StreamReader) -> None:
        """Post the replies in a stream until it ends.

        Raises:
            ValueError: something in it is not a reply.
            asyncio.IncompleteReadError: it ends in the middle of a reply.
        """
        while line := await stream.readline():
            self._silent = 0.0
            record, size = parse_header(line)
            if size > PAYLOAD_BYTES:
                raise ValueError(f"{size:,} bytes in one reply")
            self._handle(decode_reply(record, await stream.readexactly(size)))

    def _handle(self, reply: EngineReply) -> None:
        match reply:
            case Ready():
                self._ready = True
                if self._request is None:
                    self._expecting.clear()
                self._post(EngineReady(reply.device, reply.seconds))
            case _ if reply.id != self._id:
                pass  # to an earlier request
            case Refused():
                self._finish_request()
                self._post(EngineRefused(reply.message))
            case SamplingInfo():
                started = reply.denoising
                self._frame_bytes = started.n * started.height * started.width * started.channels
                self._post(SamplingStarted(reply))
            case InversionProgress():
                self._post(ImagesInverted(reply.done, reply.steps))
            case SampledFrame():
                images = (reply.frame.x, *([] if reply.frame.prediction is None else [reply.frame.prediction]))
                if len(images) != min(reply.frame.index, 1) + 1 or any(
                    len(image) != self._frame_bytes for image in images
                ):
                    raise ValueError(f"a frame of other than {self._frame_bytes:,} bytes")
                self._post(FrameSampled(reply.frame))
            case SnapshotSampled(frame=frame):
                if len(frame.images) != self._frame_bytes:
                    raise ValueError(f"a snapshot's samples of other than {self._frame_bytes:,} bytes")
                self._post(SnapshotReceived(frame))
            case Done():
                sampled = type(self._request) in (SampleRequest, SnapshotsRequest)
                self._finish_request()
                if sampled:
                    self._post(SamplingFinished(reply.seconds))
            case DescriptionReply():
                self._post(RunDescribed(reply.description))
            case NearestProgress() | NearestReply():
                self._post(NearestReplied(reply))
            case LabReply() | PlaneReply():
                self._post(LabReplied(reply))
