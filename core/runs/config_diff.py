"""The options in which the configs of several runs differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core.runs.directory import config_options

IGNORED = ("name", "root", "dataset_info")  # differ between all runs, or follow from other options


def config_differences(paths: Iterable[Path]) -> dict[str, tuple[Any, ...]]:
    """The options that do not have the same value in all runs, in the order of their config files.

    Returns:
        For each option its value in each run; None where it is not set, or the config cannot be read.
    """
    configs = [config_options(path) or {} for path in paths]
    names = dict.fromkeys(name for config in configs for name in config if name not in IGNORED)
    values = {name: tuple(config.get(name) for config in configs) for name in names}
    return {name: of_runs for name, of_runs in values.items() if any(value != of_runs[0] for value in of_runs)}
