"""Writes results of a race like those of `minidiff race`, for tests and pictures of the screens."""

from __future__ import annotations

import json
import math
from pathlib import Path

from core.race.records import (
    BEST,
    NOT_SIGNIFICANT,
    WORSE,
    CandidateResult,
    CurvePoint,
    Interval,
    Mark,
    RaceResult,
    RaceRules,
)

LABELS = (
    "optimizer=adam learning_rate=0.001",
    "optimizer=adam learning_rate=0.002",
    "optimizer=muon learning_rate=0.001",
    "optimizer=muon learning_rate=0.002",
)
OFFSETS = (0.09, 0.05, 0.004, 0.0)  # of the losses at the end, relative to the winner's


def race_result(*, comparisons: int = 12) -> RaceResult:
    """A race of four candidates, up to a comparison; the first is stopped at the eighth."""
    rules = RaceRules(seconds=120.0)
    points = []
    for number, mark in enumerate(rules.marks[:comparisons], start=1):
        for candidate, offset in enumerate(OFFSETS, start=1):
            if candidate == 1 and number > 8:
                continue
            best = 0.18 + 0.3 * math.exp(-number / 2)
            mean = best * offset * (1 + 2 * math.exp(-number / 3))
            half = 0 if candidate == 4 else best * (0.004 + 0.02 / number)
            difference = Interval(mean, mean - half, mean + half)
            points.append(CurvePoint(candidate=candidate, mark=mark, loss=best + mean, difference=difference))
    last = {point.candidate: point for point in points if point.mark == rules.marks[comparisons - 1]}
    verdicts = {
        1: "stopped at 80 s: its loss is at least 8.1% above the best" if comparisons > 8 else WORSE,
        2: WORSE,
        3: NOT_SIGNIFICANT,
        4: BEST,
    }
    candidates = tuple(
        CandidateResult(
            candidate=number,
            label=label,
            runs=tuple(f"rates-{number}-seed{seed}" for seed in range(3)),
            verdict=verdicts[number],
            loss=last[number].loss if number in last else None,
            difference=last[number].difference if number in last else None,
            step=1_180.0 + number if number in last else None,
            seconds=10.0 * comparisons if number in last else None,
            frechet=1.2 - 0.1 * number if comparisons == 12 and number in last else None,
            frechet_difference=None,
        )
        for number, label in enumerate(LABELS, start=1)
    )
    return RaceResult(
        name="rates",
        complete=comparisons == 12,
        winner=4,
        decided_at=Mark("seconds", 10.0 * comparisons),
        candidates=candidates,
        command="minidiff train --dataset mnist --epochs 1 --optimizer muon --learning-rate 0.002",
        seeds=(0, 1, 2),
        images=1_000,
        rules=rules,
        curves=tuple(points),
    )


def write_race(folder: Path, result: RaceResult | None = None) -> None:
    """Write result.json; None: that of a complete race."""
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps((result or race_result()).as_json()))
