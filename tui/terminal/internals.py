"""Private attributes of Textual, Rich and plotext. They are used here and in `tui.terminal.driver`, and nowhere else.

Seen with Textual 8.2, Rich 14.2 and plotext 5.3; `tests/tui/test_internals.py` checks that they still exist.
"""

from __future__ import annotations

from typing import Any

from rich.color import ColorSystem
from rich.console import Console
from textual.app import App
from textual.command import CommandList, CommandPalette
from textual.screen import Screen
from textual.strip import Strip


def color_system(console: Console) -> ColorSystem:
    """The console's color system; the public property has its name only. As in `Strip.render`."""
    return console._color_system or ColorSystem.TRUECOLOR


def all_screens(app: App[Any]) -> list[Screen[Any]]:
    """The screens of all modes; the public property has those of the current mode only."""
    return [screen for stack in app._screen_stacks.values() for screen in stack]


def set_cell_length(strip: Strip, length: int) -> None:
    """Set a strip's width, which Textual would otherwise compute from its segments."""
    strip._cell_length = length


def set_plot_size(plot: Any, width: int, height: int) -> None:
    """Set the size of a plotext figure; `plotsize` alone does not shrink a larger one."""
    plot.plotsize(width, height)
    plot._set_size(width, height)


class CommandListPalette(CommandPalette):
    """Textual's command palette without its crash in terminals that have no rows for the list."""

    def _action_command_list(self, action: str) -> None:
        if self.query_one(CommandList).scrollable_content_region:  # without it Textual indexes lines that do not exist
            super()._action_command_list(action)
