"""State kept between sessions, and the text printed on exit."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from runlogs import held, training, window, write_run

from benchmarks.pseudo_terminal import PseudoTerminal
from core.runs.events import Event, Paused

Opener = Callable[..., PseudoTerminal]


@pytest.fixture
def open_app(tmp_path: Path) -> Opener:
    """Opens the app with a persistent state directory."""
    state = tmp_path / "state"
    (state / "minidiff").mkdir(parents=True)
    (state / "minidiff" / "welcomed").touch()

    def opened(*options: str) -> PseudoTerminal:
        return PseudoTerminal(
            "--root", str(tmp_path / "runs"), "--screen", "runs", *options,
            env={"XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(tmp_path / "config")},
        )  # fmt: skip

    return opened


def background(app: PseudoTerminal, *, behind: str = "No runs in") -> str:
    app.wait_for(behind)
    return str(app.screen.buffer[5][0].bg)


def test_the_chosen_theme_is_used_at_the_next_start(open_app: Opener, tmp_path: Path) -> None:
    with open_app() as app:
        dark = background(app)
        app.press("\x14")  # ctrl+t
        app.wait_for("minidiff-safe")
        app.press("down", "down")
        app.wait_for(lambda _: background(app, behind="Theme") != dark)  # the preview
        app.press("enter")
        app.wait_for(lambda text: "minidiff-safe" not in text)
        light = background(app)
        app.press("q")
        assert app.exit_status() == 0
    with open_app() as app:
        assert background(app) == light
    with open_app("--theme", "minidiff-dark") as app:
        assert background(app) == dark
    saved = tmp_path / "config" / "minidiff" / "settings.toml"
    assert tomllib.loads(saved.read_text()) == {"screen": {"theme": "minidiff-light"}}


@pytest.mark.parametrize("content", [b'[screen]\ntheme = "no-such-theme"\n', b"\xff\xfe", b"[screen\n", b"later = 1\n"])
def test_an_invalid_settings_file_is_one_line_of_notice(open_app: Opener, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config" / "minidiff" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with open_app() as app:
        app.wait_for("Setting ignored:")
        app.wait_for("No runs in")
    assert file.read_bytes() == content


def events_until(step: int) -> list[Event]:
    """Log of a run in its third epoch."""
    return [*training(2.5), window(step, 0.02, time.time())]


def unwrapped(text: str) -> str:
    """Text without whitespace: the terminal wraps long paths in the middle of words."""
    return "".join(text.split())


@pytest.mark.parametrize(
    ("paused", "host", "state", "then"),
    [
        (False, None, "training continues in the background", "Stop it: minidiff stop --root"),
        (True, None, "it stays paused", "Continue it: minidiff continue --root"),
        (False, "gpu-7", "its trainer is on gpu-7", None),
    ],
)
def test_quitting_prints_the_status_of_the_active_run_and_the_next_commands(
    open_app: Opener, tmp_path: Path, paused: bool, host: str | None, state: str, then: str | None
) -> None:
    events = events_until(1200)
    path = write_run(tmp_path / "runs", "a run", [*events, Paused(step=1200)] if paused else events, host=host)
    with ExitStack() as trainers:
        if host is None:
            trainers.enter_context(held(path))
        with open_app("--screen", "train", "--run", "a run") as app:
            shown = re.search(r"epoch \d+ of \d+", app.wait_for("epoch 3 of 30"))
            app.press("q")
            assert app.exit_status() == 0
            app.draw()
            left = unwrapped(app.text)
    assert shown is not None
    assert unwrapped(f"{shown[0]}; {state} (") in left
    assert unwrapped("Watch it: minidiff-tui '--run=a run' --root") in left
    assert unwrapped(then or "") in left
    assert ("Stopit" in left) == (then is not None and then.startswith("Stop"))
