"""The columns of the table of runs: their texts, and which of them fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.runs.status import RunSummary, Status
from core.text import brief_count, rough_duration
from tui.widgets.curves import tick_label
from tui.widgets.run_monitor import ago


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `text` returns the text of a cell, shortened unless its second argument, `wide`, is set."""

    text: Callable[[RunSummary, bool], str]
    is_number: bool = False


def fitting_columns(widths: Mapping[str, int], available: int, padding: int) -> tuple[str, ...]:
    """The columns that fit into `available` cells, in the order of `COLUMNS`.

    Those in `REQUIRED` are always shown, others in the order of `OPTIONAL` unless they are empty.

    Args:
        widths: width of each column with its title; 0 if it is empty.
        available: width of the table, in cells.
        padding: cells between two columns.
    """
    shown = set(REQUIRED)
    left = available - sum((widths[name] or len(name)) + padding for name in REQUIRED)
    for name in OPTIONAL:
        if widths[name] and widths[name] + padding <= left:
            shown.add(name)
            left -= widths[name] + padding
    return tuple(name for name in COLUMNS if name in shown)


def _name(run: RunSummary, wide: bool) -> str:
    return _truncate(run.name, 32 if wide else 16)


def _status(run: RunSummary, wide: bool) -> str:
    status = f"on {run.host}" if run.status is Status.ELSEWHERE else str(run.status)
    return f"● {status}"[: 30 if wide else 13]


def _preset(run: RunSummary, wide: bool) -> str:
    return _truncate(run.preset or "", 24)


def _model(run: RunSummary, wide: bool) -> str:
    return _truncate(run.model or "", 24)


def _data(run: RunSummary, wide: bool) -> str:
    return _truncate(run.dataset or "", 24)


def _epoch(run: RunSummary, wide: bool) -> str:
    return f"{run.epoch or 0}/{run.epochs}" if run.epochs else ""


def _loss(run: RunSummary, wide: bool) -> str:
    return _format_loss(run.loss)


def _validation(run: RunSummary, wide: bool) -> str:
    return _format_loss(run.validation_loss)


def _distance(run: RunSummary, wide: bool) -> str:
    return "" if run.frechet is None or math.isnan(run.frechet) else tick_label(run.frechet)


def _parameters(run: RunSummary, wide: bool) -> str:
    return "" if run.parameters is None else brief_count(run.parameters)


def _learning_rate(run: RunSummary, wide: bool) -> str:
    return "" if run.learning_rate is None else f"{run.learning_rate:g}"


def _time(run: RunSummary, wide: bool) -> str:
    return "" if run.seconds is None else rough_duration(run.seconds)


def _when(run: RunSummary, wide: bool) -> str:
    if run.updated is None:
        return ""
    return ago(run.updated) if wide else ago(run.updated).removesuffix(" ago")


def _truncate(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def _format_loss(loss: float | None) -> str:
    if loss is None:
        return ""
    return f"{loss:.4f}".removeprefix("0") if abs(loss) < 1000 else tick_label(loss)


COLUMNS = {
    "name": Column(_name),
    "status": Column(_status),
    "preset": Column(_preset),
    "model": Column(_model),
    "data": Column(_data),
    "epoch": Column(_epoch, is_number=True),
    "loss": Column(_loss, is_number=True),
    "validation": Column(_validation, is_number=True),
    "distance": Column(_distance, is_number=True),
    "params": Column(_parameters, is_number=True),
    "lr": Column(_learning_rate, is_number=True),
    "time": Column(_time, is_number=True),
    "when": Column(_when),
}
REQUIRED = ("name", "status", "epoch", "loss")
OPTIONAL = ("when", "validation", "data", "model", "params", "lr", "time", "distance", "preset")  # by importance
