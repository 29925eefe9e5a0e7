"""The private attributes of Textual, Rich and plotext that the UI uses, in the versions that it was written for."""

from __future__ import annotations

import ast
from importlib.metadata import version

from repository import REPOSITORY
from rich.color import ColorSystem
from rich.console import Console
from rich.text import Text
from textual.command import CommandPalette
from textual.strip import Strip
from textual_plotext import PlotextPlot

from tui.terminal.internals import color_system, set_cell_length, set_plot_size

PLACES = ("tui/terminal/internals.py", "tui/terminal/driver.py")


def test_the_versions_are_those_that_were_seen() -> None:
    assert version("textual").startswith("8.2.")
    assert version("plotext").startswith("5.")


def test_the_attributes_exist_and_do_what_they_are_used_for() -> None:
    assert color_system(Console(color_system="256", force_terminal=True)) is ColorSystem.EIGHT_BIT
    assert color_system(Console(color_system=None)) is ColorSystem.TRUECOLOR
    strip = Strip([])
    set_cell_length(strip, 7)
    assert strip.cell_length == 7
    assert callable(CommandPalette._action_command_list)
    plot = PlotextPlot().plt
    plot.plot([1, 2])
    for width, height in ((40, 10), (20, 5)):
        set_plot_size(plot, width, height)
        lines = Text.from_ansi(plot.build()).plain.splitlines()
        assert (max(map(len, lines)), len(lines)) == (width, height)


def test_private_modules_of_textual_are_imported_in_the_marked_places_only() -> None:
    found = []
    for path in sorted((REPOSITORY / "tui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith(("textual._", "rich._")):
                found.append(str(path.relative_to(REPOSITORY)))
    assert set(found) <= set(PLACES)
