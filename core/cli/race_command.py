"""The command `race`: several settings trained in turns and compared in pairs."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from typing import Annotated

from cyclopts import Group, Parameter

from core.cli.app import app
from core.config.training import TrainConfig
from core.errors import ConfigError
from core.runs.directory import root_directory
from core.system.signals import Interrupts, loading

RACE = Group.create_ordered("Race")
UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@app.command
def race(
    *,
    settings: Annotated[
        list[str],
        Parameter(name="--set", group=RACE, help="an option and its values, such as optimizer=adam,muon; repeatable"),
    ],
    budget: Annotated[
        str | None, Parameter(group=RACE, help="training time of each run, such as 120s, 5min or 1h")
    ] = None,
    steps: Annotated[int | None, Parameter(group=RACE, help="training steps of each run, instead of a time")] = None,
    seeds: Annotated[
        str | None, Parameter(group=RACE, help="seeds of every candidate, such as 0,1,2; default: --seed")
    ] = None,
    comparisons: Annotated[int, Parameter(group=RACE, help="comparisons at equal fractions of the budget")] = 12,
    images: Annotated[int, Parameter(group=RACE, help="validation images of a comparison")] = 1_000,
    samples: Annotated[int, Parameter(group=RACE, help="samples for the Frechet distance at the end; 0: none")] = 1_000,
    confidence: Annotated[float, Parameter(group=RACE, help="confidence of the intervals")] = 0.95,
    margin: Annotated[
        float,
        Parameter(group=RACE, help="a candidate is worse if its whole interval lies above this part of the best loss"),
    ] = 0.01,
    stop_after: Annotated[
        int, Parameter(group=RACE, help="stop a candidate that is worse in this many consecutive comparisons; 0: never")
    ] = 3,
    config: Annotated[TrainConfig, Parameter(name="*")] = TrainConfig(),  # noqa: B008 - it is frozen
    as_json: Annotated[
        bool, Parameter(name="--json", negative=(), group=RACE, help="only print JSON: one record a line")
    ] = False,
) -> int:
    """Train all combinations of some settings in turns, on the same batches and noise, and compare them in pairs.

    Every option of `train` applies to all candidates. A candidate that is worse is stopped early. The same command
    continues an interrupted race. `--name` names the race, and its runs NAME-1, NAME-2 and so on.
    """
    with loading():
        from core.cli.race_display import race_display, schedule_note
        from core.race.candidates import parse_settings
        from core.race.race import run_race
        from core.race.records import RaceResult, RaceRules

    rules = RaceRules(
        seconds=None if budget is None else _seconds(budget),
        steps=steps,
        comparisons=comparisons,
        images=images,
        samples=samples,
        confidence=confidence,
        margin=margin,
        stop_after=stop_after,
    )
    if seeds is not None and "seed" in config.model_fields_set:
        raise ConfigError("seeds: both --seed and --seeds were passed; leave one out")
    chosen = (config.seed,) if seeds is None else _seeds(seeds)
    root = root_directory(config.root)
    values = {name: getattr(config, name) for name in config.model_fields_set}
    config = TrainConfig(**{**values, "root": root})
    result: RaceResult | None = None
    try:
        with Interrupts() as interrupts:
            records = run_race(config, parse_settings(settings), rules, seeds=chosen, interrupts=interrupts)
            with closing(records), race_display(as_json=as_json) as display:  # closing writes checkpoints
                for record in records:
                    display.add(record)
                    if isinstance(record, RaceResult):
                        result = record
    except (KeyboardInterrupt, SystemExit):
        print("the race was interrupted; the same command continues it", file=sys.stderr)
        raise
    if result is not None and not as_json and (note := schedule_note(result, root)):
        print(note)
    return 0


def _seconds(text: str) -> float:
    """A duration such as "90", "120s", "5min" or "1h" in seconds."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in UNITS:
        raise ConfigError(f"budget: must be a time such as 120s, 5min or 1h, not {text!r}")
    return float(match[1]) * UNITS[match[2]]


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ConfigError(f"seeds: must be whole numbers such as 0,1,2, not {text!r}") from None
