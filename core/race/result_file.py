"""Reads result.json of a race, without torch, for the UI."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from core.errors import ConfigError
from core.race.records import CandidateResult, Clock, CurvePoint, Interval, Mark, RaceResult, RaceRules
from core.system.safe_io import parse_json, read_whole
from core.text import sanitize

RESULT = "result.json"
RESULT_BYTES = 4_194_304
RUN_NAME = re.compile(r"(.+)-[0-9]+(-seed[0-9]+)?")


def race_of(run: Path) -> Path | None:
    """The folder of the race that a run belongs to by its name, if it has a result; None if not."""
    match = RUN_NAME.fullmatch(run.name)
    folder = run.parent / match[1] if match else None
    return folder if folder is not None and (folder / RESULT).is_file() else None


def read_result(folder: Path) -> RaceResult | None:
    """The result of a race so far; None if there is none or the file is damaged."""
    try:
        record = parse_json(read_whole(folder / RESULT, RESULT_BYTES))
        candidates = tuple(map(_candidate, record["candidates"]))
        result = RaceResult(
            name=_text(record["name"]),
            complete=record["complete"] is True,
            winner=int(record["winner"]),
            decided_at=None if record["decided_at"] is None else _mark(record["decided_at"]),
            candidates=candidates,
            command=_text(record["command"]),
            seeds=tuple(map(int, record["seeds"])),
            images=int(record["images"]),
            rules=RaceRules(**record["rules"]),
            curves=tuple(map(_point, record["curves"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, ConfigError):
        return None
    return result if 1 <= result.winner <= len(candidates) else None


def _candidate(record: dict[str, Any]) -> CandidateResult:
    return CandidateResult(
        candidate=int(record["candidate"]),
        label=_text(record["label"]),
        runs=tuple(map(_text, record["runs"])),
        verdict=_text(record["verdict"]),
        loss=_known(record["loss"]),
        difference=None if record["difference"] is None else _interval(record["difference"]),
        step=_known(record["step"]),
        seconds=_known(record["seconds"]),
        frechet=_known(record["frechet"]),
        frechet_difference=None if record["frechet_difference"] is None else _interval(record["frechet_difference"]),
    )


def _point(record: dict[str, Any]) -> CurvePoint:
    return CurvePoint(
        candidate=int(record["candidate"]),
        mark=_mark(record["mark"]),
        loss=_number(record["loss"]),
        difference=_interval(record["difference"]),
    )


def _mark(record: dict[str, Any]) -> Mark:
    clock: Clock = "steps" if record["clock"] == "steps" else "seconds"
    value = float(record["value"])
    if not 0 <= value < math.inf:
        raise ValueError("a checkpoint is not finite, or negative")
    return Mark(clock, value)


def _interval(record: dict[str, Any]) -> Interval:
    return Interval(*(_number(record[name]) for name in ("mean", "low", "high")))


def _number(value: Any) -> float:
    """A number; JSON has null for those that are not finite."""
    return math.nan if value is None else float(value)


def _known(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return sanitize(value)
