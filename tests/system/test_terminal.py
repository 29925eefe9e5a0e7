"""How images are drawn in a terminal, from its environment."""

from __future__ import annotations

import pytest

from core.system.plain_characters import plain
from core.system.terminal import drawing

VARIABLES = ("TMUX", "TERM_PROGRAM", "VTE_VERSION")


@pytest.mark.parametrize(
    ("term", "encoding", "environment", "expected"),
    [
        ("xterm-kitty", "utf-8", {}, "sextant"),
        ("foot", "utf-8", {}, "sextant"),
        ("xterm-256color", "utf-8", {}, "quadrant"),
        ("xterm-256color", "utf-8", {"TERM_PROGRAM": "WezTerm"}, "sextant"),
        ("xterm-256color", "utf-8", {"TERM_PROGRAM": "Apple_Terminal"}, "quadrant"),
        ("xterm-256color", "utf-8", {"VTE_VERSION": "7200"}, "sextant"),
        ("xterm-256color", "utf-8", {"VTE_VERSION": "5202"}, "quadrant"),
        ("tmux-256color", "utf-8", {"TMUX": "x", "VTE_VERSION": "7200"}, "quadrant"),
        ("linux", "utf-8", {"VTE_VERSION": "7200"}, "half"),
        ("xterm-kitty", "ascii", {}, "ascii"),
    ],
)
def test_the_finest_drawing_that_a_terminal_has_is_chosen(
    term: str, encoding: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert drawing(term, encoding) == expected


def test_sextants_have_a_replacement_of_the_same_width() -> None:
    assert plain("\U0001fb00\U0001fb3b") == "::"


def test_octants_have_a_replacement_of_the_same_width() -> None:
    assert plain("\U0001cd00\U0001cde5\U0001cea8\U0001fb82") == "::.'"
