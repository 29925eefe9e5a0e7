"""The colors of a terminal: terminfo entries, names, and variables that override both."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import rich.console

from core.system import terminfo
from core.system.color_support import detect_colors
from core.system.terminfo import ColorEntry, parse_color_entry, read_color_entry

needs_tic = pytest.mark.skipif(shutil.which("tic") is None, reason="tic of ncurses compiles terminfo entries")
SOURCE = """
plain|without colours,
    cols#80, bel=^G,
eight|eight colours,
    colors#8, pairs#64, setaf=\\E[3%p1%dm,
many|256 colours,
    colors#256, pairs#65536, setaf=\\E[38;5;%p1%dm,
flagged|a terminal that tmux calls true colour,
    Tc, colors#256, pairs#32767,
settable|as xterm-ghostty describes it,
    colors#256, AX, XT, setrgbf=\\E[38:2:%p1%d:%p2%d:%p3%dm,
counted|a direct colour terminal by its count,
    colors#0x1000000, pairs#0x10000, U8#1,
bits|a direct colour terminal by its bits,
    RGB#8, colors#0x100, pairs#0x100,
foot|an old entry of a terminal with true colour,
    colors#8, pairs#64,
"""


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable decides, and no entry is found."""
    for name in ("COLORTERM", "NO_COLOR", "TEXTUAL_COLOR_SYSTEM", "TERMINFO", "TERMINFO_DIRS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr(terminfo, "SYSTEM_FOLDERS", ())


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the compiled entries of `SOURCE`, which is searched."""
    (tmp_path / "source").write_text(SOURCE)
    subprocess.run(["tic", "-x", "-o", tmp_path / "compiled", tmp_path / "source"], check=True, capture_output=True)
    monkeypatch.setenv("TERMINFO", str(tmp_path / "compiled"))
    return tmp_path / "compiled"


@needs_tic
@pytest.mark.parametrize(
    ("term", "system", "reason"),
    [
        ("plain", "none", "no colors"),
        ("eight", "16", "8 colors"),
        ("many", "256", "256 colors"),
        ("flagged", "truecolor", "Tc"),
        ("settable", "truecolor", "setrgbf"),
        ("counted", "truecolor", "colors"),
        ("bits", "truecolor", "RGB"),
        ("foot", "truecolor", "name"),
    ],
)
def test_the_terminfo_entry_decides_unless_the_name_promises_more(
    entries: Path, term: str, system: str, reason: str
) -> None:
    colors = detect_colors(term)
    assert colors.system == system
    assert reason in colors.reason


@needs_tic
def test_entries_are_found_where_ncurses_finds_them(entries: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eight = ColorEntry(8)
    home = entries.parent / "home"
    home.mkdir()
    shutil.copytree(entries, home / ".terminfo")
    monkeypatch.setenv("TERMINFO", "/nowhere")
    assert read_color_entry("eight") is None
    monkeypatch.setenv("TERMINFO_DIRS", f"/nowhere::{entries}")
    assert read_color_entry("eight") == eight
    monkeypatch.delenv("TERMINFO_DIRS")
    monkeypatch.setenv("HOME", str(home))
    assert read_color_entry("eight") == eight
    (home / ".terminfo" / "e").rename(home / ".terminfo" / "65")  # as on macOS
    assert read_color_entry("eight") == eight


@needs_tic
def test_a_damaged_entry_is_ignored(entries: Path) -> None:
    whole = (entries / "s" / "settable").read_bytes()
    for length in range(len(whole)):
        try:
            assert parse_color_entry(whole[:length]) in (ColorEntry(256), ColorEntry(256, "setrgbf"))
        except ValueError:
            (entries / "s" / "settable").write_bytes(whole[:length])
            assert read_color_entry("settable") is None
    (entries / "s" / "settable").write_bytes(whole.ljust(terminfo.MAX_BYTES + 1, b"\0"))
    assert read_color_entry("settable") is None
    (entries / "s" / "settable").unlink()
    os.mkfifo(entries / "s" / "settable")
    assert read_color_entry("settable") is None


@pytest.mark.parametrize("term", ["", ".", "..", "../s/settable", "x\0y", "\udc80", "a" * 5000])
def test_a_strange_name_has_no_entry(term: str) -> None:
    assert read_color_entry(term) is None
    assert detect_colors(term).system == "16"


@pytest.mark.skipif(shutil.which("infocmp") is None, reason="infocmp prints the entries of this machine")
def test_entries_of_this_machine_are_read_as_infocmp_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.delenv("TERMINFO", raising=False)
    for term in ("xterm", "xterm-256color", "screen", "tmux-256color", "linux", "vt100", "dumb"):
        listing = subprocess.run(["infocmp", "-1x", term], capture_output=True, text=True, check=False)
        if listing.returncode == 0:
            capabilities = [line.strip().rstrip(",") for line in listing.stdout.splitlines()]
            count = next((int(line[7:], 0) for line in capabilities if line.startswith("colors#")), 0)
            assert read_color_entry(term) == ColorEntry(count)


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        *((name, "truecolor") for name in ("foot", "foot-extra", "alacritty", "wezterm", "xterm-ghostty", "ghostty")),
        *((name, "truecolor") for name in ("xterm-kitty", "xterm-direct", "tmux-direct", "xterm-direct256")),
        *(
            (name, "truecolor")
            for name in ("contour", "st-256color", "iterm2", "konsole-direct", "mintty", "xterm-rio")
        ),
        *((name, "256") for name in ("xterm-256color", "screen-256color", "tmux-256color")),
        *((name, "16") for name in ("xterm", "screen", "linux", "vt220", "footloose", "st-16color", "stv52")),
        ("dumb", "none"),
    ],
)
def test_a_terminal_known_only_by_name_gets_its_known_colours(term: str, expected: str) -> None:
    assert detect_colors(term).system == expected


@pytest.mark.parametrize(
    ("environment", "system"),
    [
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit"}, "truecolor"),
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "linux"}, "16"),
        ({"TERM": "xterm-16color"}, "16"),
        ({}, "16"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
    ],
)
def test_without_terminfo_common_terminals_have_the_colours_that_rich_detects(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], system: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert detect_colors(environment.get("TERM", "")).system == system
    reference = rich.console.Console(force_terminal=True, _environ=environment).color_system
    assert reference == {"16": "standard", "none": None}.get(system, system)


@pytest.mark.parametrize(
    ("environment", "system", "reason"),
    [
        ({"NO_COLOR": "1", "TEXTUAL_COLOR_SYSTEM": "256", "COLORTERM": "truecolor"}, "none", "NO_COLOR is set"),
        ({"TEXTUAL_COLOR_SYSTEM": "256", "COLORTERM": "truecolor"}, "256", "TEXTUAL_COLOR_SYSTEM=256"),
        ({"TEXTUAL_COLOR_SYSTEM": "standard"}, "16", "TEXTUAL_COLOR_SYSTEM=standard"),
        ({"TEXTUAL_COLOR_SYSTEM": "auto"}, "truecolor", "name"),
        ({"COLORTERM": "24bit"}, "truecolor", "COLORTERM=24bit"),
    ],
)
def test_variables_come_before_the_terminal(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], system: str, reason: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    colors = detect_colors("foot")
    assert colors.system == system
    assert reason in colors.reason
