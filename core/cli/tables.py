"""Output of commands as JSON or as a table."""

from __future__ import annotations

import json
from typing import Any

from core.runs.history import loss_text
from core.text import sanitize


def print_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)  # JSON has no NaN
    print(json.dumps(finite, indent=2))


def print_table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print rows under headings; in a pipe no cell is truncated."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a pipe has no width, and cells must not be truncated
    console.print(table)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "N/A"
    if isinstance(value, float):
        return loss_text(value)
    return f"{value:,}" if isinstance(value, int) else sanitize(str(value))


def rounded(value: float | None, unit: str) -> str:
    """A rounded value with its unit, or N/A."""
    return "N/A" if value is None else f"{value:.0f} {unit}"
