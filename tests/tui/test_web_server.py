"""The app in a browser: the page, the connection, and the end of both processes."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from textual.color import Color

from core.errors import MinidiffError
from core.system import subprocesses
from tui.app import MinidiffApp
from tui.io.web_server import serve

Picture = Callable[[], Awaitable[Image.Image]]
SECONDS = 60  # for everything here to happen on a busy machine
served = pytest.mark.skipif(
    importlib.util.find_spec("textual_serve") is None, reason="the optional package textual-serve is not installed"
)


@contextmanager
def server(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[tuple[psutil.Popen, str]]:
    """The process of `minidiff-tui --serve` on any free port, and its URL."""
    process = psutil.Popen(
        subprocesses.command("tui", "--serve", "0", *arguments),
        stdout=subprocess.PIPE,
        text=True,
        env=subprocesses.environment() | (environment or {}),
    )
    try:
        found = re.search(r"http://localhost:\d+/[\w-]{16}/", process.stdout.readline())
        assert found is not None
        yield process, found[0]
    finally:
        if process.poll() is None:
            for child in process.children(recursive=True):
                child.kill()
            process.kill()
        process.wait()
        process.stdout.close()


@asynccontextmanager
async def page(url: str) -> AsyncIterator[tuple[Any, Any]]:
    """An HTTP session, and the connection of a page of 100 columns and 30 rows."""
    import aiohttp

    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as session,
        session.ws_connect(f"{url}ws?width=100&height=30") as connection,
    ):
        yield session, connection


async def wait_for(connection: Any, text: str) -> str:
    """Everything that the app sends until it has sent `text`."""
    sent = b""
    async with asyncio.timeout(SECONDS):
        while text.encode() not in sent:
            sent += (await connection.receive_bytes()) if text else b""
    return sent.decode(errors="replace")


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=SECONDS)
    assert not alive


@served
async def test_the_app_is_served_with_its_options_and_ends_with_its_page(tmp_path: Path) -> None:
    root = tmp_path / "runs of 'mine' $HOME"
    root.mkdir()
    terminal = {"TERM": "linux", "COLUMNS": "20", "LINES": "5", "TMUX": "yes", "LC_ALL": "C"}
    with server("--root", str(root), "--screen", "runs", environment=terminal) as (process, url):
        assert re.search(r"ssh -L (\d+):localhost:\1 \S+@\S+$", process.stdout.readline())
        async with page(url) as (session, connection):
            shown = await wait_for(connection, "$HOME")  # the path may wrap before
            assert "No runs in" in shown
            assert "minidiff" in shown
            assert "\x1b[6n" not in shown  # no queries, which the page would answer as if they were typed
            assert re.search(r"\x1b\[[\d;]*38;2;", shown)  # truecolor
            apps = process.children(recursive=True)
            assert len(apps) == 1
            await connection.send_str(json.dumps(["stdin", "q"]))
            async with asyncio.timeout(SECONDS):
                while not (await connection.receive()).type.name.startswith("CLOS"):
                    pass
            wait_until_gone(apps)
            async with session.get(url) as reply:
                assert reply.status == 200  # the next page starts another app
            async with session.get(re.sub(r"[\w-]{16}/$", "", url)) as reply:
                assert reply.status == 404  # other users of this machine do not know the rest of the URL


@served
async def test_the_page_loads_nothing_from_the_network() -> None:
    import aiohttp

    with server("--screen", "devices") as (_, url):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as session:
            async with session.get(url) as reply:
                text = await reply.text()
            assert not re.search(r"""(src|href|url)\W{1,3}(https?:)?//""", text)
            assert "default-src 'self'" in text  # the browser refuses everything else
            files = set(re.findall(r"static/[\w./-]+", text))
            assert len(files) == 4  # a style sheet, two fonts and the terminal
            for file in files:
                async with session.get(url + file) as reply:
                    assert reply.status == 200, file


@served
async def test_ctrl_c_ends_the_server_and_its_apps(tmp_path: Path) -> None:
    with server("--root", str(tmp_path), "--screen", "devices") as (process, url):
        async with page(url) as (_, connection):
            await wait_for(connection, "minidiff")
            apps = process.children(recursive=True)
            process.send_signal(signal.SIGINT)
            async for _ in connection:
                pass  # until it is closed
            assert await asyncio.to_thread(process.wait, SECONDS) == 0
            wait_until_gone(apps)


@served
def test_a_port_in_use_is_an_error_of_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        command = subprocesses.command("tui", "--serve", str(port))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=subprocesses.environment(), timeout=SECONDS
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"minidiff-tui: cannot listen on port {port}: .*in use; choose .*\n", done.stderr)


def test_a_missing_package_is_an_error_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MinidiffError, match=r"pip install textual_serve"):
        serve([], 0)


@asynccontextmanager
async def chromium(
    url: str, folder: Path, size: tuple[int, int]
) -> AsyncIterator[Callable[[], Awaitable[Image.Image]]]:
    """A function that takes a picture of the page at `url`, in Chromium without a window."""
    import aiohttp

    options = [
        "--headless", "--no-sandbox", "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder}",
        f"--window-size={size[0]},{size[1]}",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec("chromium", *options, url, stderr=asyncio.subprocess.PIPE)
    try:
        assert process.stderr is not None
        address = None
        while address is None:
            address = re.search(rb"ws://([^/]+)/", await process.stderr.readline())
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{address[1].decode()}/json/list") as reply:
                target = next(tab for tab in await reply.json() if tab["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as tab:

                async def picture() -> Image.Image:
                    await tab.send_str(json.dumps({"id": 1, "method": "Page.captureScreenshot"}))
                    answer = json.loads(await tab.receive_str())
                    return Image.open(io.BytesIO(base64.b64decode(answer["result"]["data"]))).convert("RGB")

                yield picture
    finally:
        process.kill()
        await process.wait()


@served
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
async def test_chromium_draws_the_app(tmp_path: Path) -> None:
    primary = Color.parse(MinidiffApp(tmp_path).get_css_variables()["primary"]).rgb
    with server("--root", str(tmp_path), "--screen", "devices") as (_, url):
        async with chromium(url, tmp_path / "profile", (1200, 800)) as picture, asyncio.timeout(SECONDS):
            colors: set[object] = set()
            while primary not in colors:  # the page without the app is gray
                colors = {color for _, color in (await picture()).getcolors(1 << 20) or []}
    assert len(colors) > 50  # text with smooth edges
