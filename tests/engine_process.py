"""The engine as a process, and the UI's side of its pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from core.system import subprocesses


class Client:
    """The screen's side of the pipes."""

    def __init__(self, program: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=subprocesses.environment(),
        )
        self.payload = b""
        self.signs_of_life = 0

    def send(self, *requests: dict[str, Any] | bytes) -> None:
        assert self.process.stdin is not None
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in requests]
        self.process.stdin.write(b"".join(lines))
        self.process.stdin.flush()

    def reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, "the engine ended"
            message: dict[str, Any] = json.loads(line)
            if message["event"] != "alive":  # which it says every second that an answer takes
                break
            self.signs_of_life += 1
        self.payload = self.process.stdout.read(message.get("bytes", 0))
        return message

    def until(self, event: str) -> dict[str, Any]:
        while (message := self.reply())["event"] != event:
            assert message["event"] in ("ready", "sampling", "step", "cancelled"), message
        return message

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)
