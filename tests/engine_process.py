"""A client for the engine as a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, TypeVar

from core.engine.codec import decode_reply, encode, parse_header
from core.engine.protocol import (
    Alive,
    Cancelled,
    EngineReply,
    EngineRequest,
    NearestProgress,
    Ready,
    SampledFrame,
    SamplingInfo,
)
from core.system import subprocesses

R = TypeVar("R", bound=EngineReply)


class Client:
    """Sends requests and reads replies, one at a time."""

    def __init__(self, program: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=subprocesses.environment(),
        )
        self.alive_count = 0

    def send(self, *requests: EngineRequest | dict[str, Any] | bytes) -> None:
        """Send requests; dicts (as JSON) and bytes are sent unchanged."""
        assert self.process.stdin is not None
        for request in requests:
            match request:
                case EngineRequest():
                    line = encode(request)
                case dict():
                    line = json.dumps(request).encode() + b"\n"
                case _:
                    line = request
            self.process.stdin.write(line)
        self.process.stdin.flush()

    def reply(self) -> EngineReply:
        """The next reply that is not `Alive`."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, "the engine exited"
            record, size = parse_header(line)
            reply = decode_reply(record, self.process.stdout.read(size))
            if not isinstance(reply, Alive):
                return reply
            self.alive_count += 1

    def until(self, kind: type[R]) -> R:
        """The next reply of type `kind`; only replies of sampling and progress may precede it."""
        while not isinstance(reply := self.reply(), kind):
            assert isinstance(reply, Ready | SamplingInfo | SampledFrame | NearestProgress | Cancelled), reply
        return reply

    def end(self) -> int:
        """Close stdin and return the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)
