"""Downloads: progress events, verification, interruption, and removal of partial files."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import psutil
import pytest
from command_line import wait_until
from repository import REPOSITORY

from core.cli import run
from core.config.datasets import SOURCES
from core.data import datasets
from core.data.download import download
from core.errors import DatasetError
from core.generators import WithResult
from core.runs.events import Download

SHARED = REPOSITORY.parent / "shared" / "data"
GENUINE = Path(os.environ.get("MINIDIFF_DATA", SHARED)).resolve()  # read before the tests unset it
ARCHIVES = [f"{file.name}.gz" for pair in SOURCES["mnist"].splits.values() for file in pair]


class Mirror(http.server.ThreadingHTTPServer):
    """A proxy on localhost that answers every plain GET itself, in place of the internet."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.hang_after: int | None = None  # send this many bytes of the body, then wait for the client to disconnect
        self.hanging = threading.Event()
        self.left = threading.Event()
        self.requested: list[str] = []


class Answer(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        body = self.server.files.get(Path(urlparse(self.path).path).name)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        redirected = self.headers.get("Method") == "HEAD"  # torchvision checks redirects first
        if self.server.hang_after is None or redirected:
            self.wfile.write(body)
            return
        self.wfile.write(body[: self.server.hang_after])
        self.wfile.flush()
        self.server.hanging.set()
        with contextlib.suppress(ConnectionResetError):  # a killed downloader leaves unread bytes: a reset, not an EOF
            self.connection.recv(1)  # returns when the downloader disconnects
        self.server.left.set()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with Mirror() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def through(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Route all traffic through the mirror, in an empty folder with an isolated cache; returns the cache folder."""
    for variable in ("MINIDIFF_DATA", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{mirror.server_port}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return datasets.cache_directory()


@pytest.fixture
def archives() -> dict[str, bytes]:
    """MNIST's four archives as published."""
    files = list(GENUINE.glob("MNIST/raw/*.gz"))
    if len(files) != 4:
        pytest.skip("needs MNIST's archives: in MINIDIFF_DATA or ../shared/data")
    return {path.name: path.read_bytes() for path in files}


def files_in(cache: Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*")) if cache.exists() else []


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "core.data.download" in child.cmdline()]


def test_a_download_is_announced_before_it_starts(mirror: Mirror, through: Path) -> None:
    events = download("mnist", through)
    first = next(events)
    assert first == Download(name="mnist", file=ARCHIVES[0], received=0, total=9_912_422, time=first.time)
    events.close()
    assert not mirror.requested
    assert files_in(through) == []


def test_mnist_is_downloaded_from_the_second_mirror_and_read(
    mirror: Mirror, through: Path, archives: dict[str, bytes]
) -> None:
    mirror.files = archives  # the first mirror uses https, which this proxy refuses
    search = WithResult(datasets.locate("mnist"))
    yielded = list(search)
    assert len(datasets.read(search.result, "train", 5).labels) == 5
    assert files_in(through) == sorted(["MNIST", "MNIST/raw", *(f"MNIST/raw/{name}" for name in ARCHIVES)])
    assert {event.file for event in yielded if isinstance(event, Download)} == set(ARCHIVES)
    for name in ARCHIVES:
        received = [event.received for event in yielded if isinstance(event, Download) and event.file == name]
        assert received == sorted(received)
        assert received[-1] == len(archives[name])
    mirror.requested.clear()
    assert [*datasets.locate("mnist")] == []  # the second time it is already there
    assert not mirror.requested


def test_a_named_root_is_downloaded_to_only_on_request(
    mirror: Mirror, through: Path, archives: dict[str, bytes], tmp_path: Path
) -> None:
    mirror.files = archives
    root = tmp_path / "my data"
    with pytest.raises(DatasetError, match=r"minidiff download mnist --data-root '.*my data'"):
        list(datasets.locate("mnist", root))
    assert not mirror.requested
    assert run(["download", "mnist", "--data-root", str(root), "--json"]) == 0
    assert files_in(root) == sorted(["MNIST", "MNIST/raw", *(f"MNIST/raw/{name}" for name in ARCHIVES)])
    assert not through.exists()
    assert len(datasets.load_dataset("mnist", root, "test", 3).labels) == 3
    mirror.requested.clear()
    assert run(["download", "mnist", "--data-root", str(root), "--json"]) == 0
    assert not mirror.requested


def test_a_server_without_the_files_is_a_one_line_error(mirror: Mirror, through: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"MNIST is not in data, .*HTTP Error 404: Not Found; .*put its files"
    ) as caught:
        list(datasets.locate("mnist"))
    assert "\n" not in str(caught.value)
    assert mirror.requested
    assert files_in(through) == []


def test_an_altered_download_is_not_kept(mirror: Mirror, through: Path) -> None:
    mirror.files = dict.fromkeys(ARCHIVES, b"not the file")
    with pytest.raises(DatasetError, match="download failed"):
        list(download("mnist", through))
    assert files_in(through) == []


def test_closing_the_generator_stops_the_download_and_removes_partial_files(mirror: Mirror, through: Path) -> None:
    mirror.files = dict.fromkeys(ARCHIVES, bytes(1_000_000))
    mirror.hang_after = 70_000
    events = download("mnist", through)
    received = next(event.received for event in events if isinstance(event, Download) and event.received)
    assert received <= 70_000
    assert len(children()) == 1
    events.close()
    assert children() == []
    assert mirror.left.wait(60)
    assert files_in(through) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupting_or_killing_the_parent_stops_the_download_and_removes_partial_files(
    mirror: Mirror, through: Path, number: signal.Signals
) -> None:
    mirror.files = dict.fromkeys(ARCHIVES, bytes(1_000_000))
    mirror.hang_after = 70_000
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from core.data.datasets import locate\nlist(locate('mnist'))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
    assert mirror.hanging.wait(60)
    parent.send_signal(number)
    assert parent.wait(10) != 0
    assert mirror.left.wait(60)
    wait_until(lambda: files_in(through) == [], "the partial files are removed")


def test_an_unresponsive_server_times_out(mirror: Mirror, through: Path) -> None:
    mirror.files = dict.fromkeys(ARCHIVES, bytes(1_000_000))
    mirror.hang_after = 10
    with pytest.raises(DatasetError, match=r"download failed: .*timed out"):
        list(download("mnist", through))
    assert files_in(through) == []


def test_an_unwritable_cache_is_an_error_with_a_fix(through: Path) -> None:
    through.parent.mkdir(parents=True)
    through.write_text("a file where the folder should be")
    with pytest.raises(DatasetError, match=r"cannot be written.*set XDG_CACHE_HOME"):
        list(download("mnist", through))


def test_a_child_that_exits_without_a_message_is_an_error(through: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DatasetError, match="the process gave no reason"):
        list(download("mnist", through))
