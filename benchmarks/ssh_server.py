"""Runs an OpenSSH server of the current user on loopback, with one key, and its client."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 20.0  # seconds until the server listens
SSHD = shutil.which("sshd", path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin", os.environ.get("PATH", ""))))


class NoServerError(Exception):
    """The OpenSSH server could not be started."""


@dataclass(frozen=True)
class Server:
    """Port of the server, and the accepted key."""

    port: int
    key: Path

    def command(self, *remote: str, port: int | None = None, compress: bool = False) -> list[str]:
        """Command of a client that runs `remote` on a terminal, through another port if given."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        flags = [flag for option in options for flag in ("-o", option)]
        place = f"{getpass.getuser()}@127.0.0.1"
        asked = ["-tt", "-F", "none", "-p", str(port or self.port), "-i", str(self.key), *flags]
        return ["ssh", *asked, *(["-C"] if compress else []), place, *remote]


@contextmanager
def serving(home: Path, **more: object) -> Iterator[Server]:
    """Run a server with keys and settings in `home` until the block ends; `more` is appended to sshd_config.

    Raises:
        NoServerError: none is installed, or it does not start.
    """
    if SSHD is None or shutil.which("ssh") is None:
        raise NoServerError("no OpenSSH server and client are installed here")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True)
    port = free_port()
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": home / "host",
        "AuthorizedKeysFile": home / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "PrintMotd": "no",
        **more,
    }
    (home / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # required when running as root
    log = home / "log"
    with open(log, "wb") as written:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(home / "config")], stderr=written)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _listens(port):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            if process.returncode is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise NoServerError(f"the OpenSSH server does not start here: {' '.join(said)}")
        yield Server(port, home / "user")
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
