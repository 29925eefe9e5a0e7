"""The folder of a race: its settings, and a log of everything measured, from which it continues."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from core.errors import RunError
from core.race.candidates import Candidate
from core.race.records import Mark, RaceResult, RaceRules
from core.race.result_file import RESULT
from core.runs import locks
from core.runs.directory import CONFIG
from core.runs.store import check_new_name
from core.system.atomic_write import write_atomically
from core.system.disk_usage import remedy
from core.system.safe_io import opened, opened_to_append, parse_json, read_whole

SPEC, LOG, PLOT = "race.json", "race.jsonl", "race.svg"
SPEC_BYTES = 1_048_576
DIGITS = 6  # of the settings' digest in a generated name


@dataclass(frozen=True, slots=True)
class Measurement:
    """The validation losses of one run at one mark."""

    run: str
    candidate: int
    seed: int
    mark: Mark
    step: int
    seconds: float  # of training
    losses: Tensor  # (n,) float64, one per validation image


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A candidate whose training failed."""

    candidate: int
    reason: str


@dataclass(frozen=True, slots=True)
class Distance:
    """The Frechet distance of samples of one run."""

    run: str
    frechet: float


LogEntry = Measurement | Withdrawal | Distance


def race_settings(candidates: Sequence[Candidate], seeds: Sequence[int], rules: RaceRules) -> dict[str, Any]:
    """Everything that a race depends on, as values of JSON; equal settings are the same race."""
    configs = [
        candidate.config.model_dump(mode="json", include=candidate.config.model_fields_set) for candidate in candidates
    ]
    chosen = {name: getattr(rules, name) for name in RaceRules.__dataclass_fields__}
    return {"version": 1, "candidates": configs, "seeds": list(seeds), "rules": chosen}


class RaceFolder:
    """A folder beside its runs. It has no config.toml, so it is not listed as a run.

    As a context manager it holds the log's lock, once the folder exists: a race runs in one process.

    Args:
        root: Folder of the runs.
        name: Of the race; None: a digest of the settings, so that equal races have the same name.
        settings: From `race_settings`.

    Raises:
        RunError: The name is invalid, or is that of a run, of another folder or of a race with other settings;
            entering it, also if the race is running in another process.
    """

    def __init__(self, root: Path, name: str | None, settings: dict[str, Any]) -> None:
        self._spec = json.dumps(settings, sort_keys=True, indent=1).encode()
        self.name = check_new_name(name or f"race-{hashlib.sha256(self._spec).hexdigest()[:DIGITS]}")
        self.path = root / self.name
        if (self.path / CONFIG).exists():
            raise RunError(f"{self.path} is a run; choose another --name for the race")
        self._lock: BinaryIO | None = None
        self.continued = (self.path / SPEC).exists()
        if not self.continued and not _is_free(self.path):
            raise RunError(f"{self.path} exists already; choose another --name for the race")
        if self.continued and _read_spec(self.path / SPEC) != parse_json(self._spec):
            raise RunError(
                f"{self.path} is a race with other settings; repeat its command to continue it, or choose another "
                "--name"
            )

    def __enter__(self) -> RaceFolder:
        if self.continued:
            self._take_lock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def create(self) -> None:
        """Create the folder with the settings, unless the race is continued.

        Raises:
            RunError: It cannot be written, or another process has just created it.
        """
        if self._lock is not None:
            return
        self._take_lock()
        try:
            write_atomically(self.path / SPEC, self._spec)
        except OSError as error:
            raise self._cannot_write(error) from None

    def _take_lock(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = opened_to_append(self.path / LOG)
        except OSError as error:
            raise self._cannot_write(error) from None
        if not locks.take(self._lock, self.path / LOG):
            self._lock.close()
            raise RunError(f"the race {self.name} is running in another process; wait for it, or stop that process")

    def entries(self) -> Iterator[LogEntry]:
        """What an earlier process measured."""
        return read_log(self.path / LOG) if (self.path / LOG).exists() else iter(())

    def append(self, entry: LogEntry) -> None:
        """Append to the log.

        Raises:
            RunError: It cannot be written.
        """
        try:
            with opened_to_append(self.path / LOG) as log:
                if log.seek(0, os.SEEK_END) and (log.seek(-1, os.SEEK_END), log.read(1))[1] != b"\n":
                    locks.write_whole(log, b"\n")  # ends a line that a killed process left
                locks.write_whole(log, (json.dumps(_to_json(entry)) + "\n").encode())
        except OSError as error:
            raise self._cannot_write(error) from None

    def write_result(self, result: RaceResult, plot: str) -> None:
        """Write result.json and the plot.

        Raises:
            RunError: They cannot be written.
        """
        try:
            content = json.dumps(result.as_json(), indent=1, allow_nan=False) + "\n"
            write_atomically(self.path / RESULT, content.encode())
            write_atomically(self.path / PLOT, plot.encode())
        except OSError as error:
            raise self._cannot_write(error) from None

    def _cannot_write(self, error: OSError) -> RunError:
        return RunError(f"cannot write {self.path}: {error.strerror}; {remedy(error)}, or choose another --root")


def _is_free(path: Path) -> bool:
    """Whether nothing is there, or only what a process left that was killed while it created the folder."""
    try:
        return set(os.listdir(path)) <= {LOG, f".{SPEC}.tmp"}
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _read_spec(path: Path) -> Any:
    try:
        return parse_json(read_whole(path, SPEC_BYTES))
    except (OSError, ValueError):
        return None


def read_log(path: Path) -> Iterator[LogEntry]:
    """The log of a race so far; damaged lines are skipped."""
    with opened(path) as log:
        for line in log:
            entry = _from_json(line)
            if entry is not None:
                yield entry


def _to_json(entry: LogEntry) -> dict[str, Any]:
    match entry:
        case Measurement():
            losses = base64.b64encode(entry.losses.float().numpy().astype("<f4").tobytes()).decode("ascii")
            mark = [entry.mark.clock, entry.mark.value]
            values = {"run": entry.run, "candidate": entry.candidate, "seed": entry.seed, "mark": mark}
            return {"entry": "losses", **values, "step": entry.step, "seconds": entry.seconds, "losses": losses}
        case Withdrawal():
            return {"entry": "withdrawal", "candidate": entry.candidate, "reason": entry.reason}
        case Distance():
            return {"entry": "distance", "run": entry.run, "frechet": entry.frechet}


def _from_json(line: bytes) -> LogEntry | None:
    try:
        record = parse_json(line)
        match record.pop("entry"):
            case "losses":
                clock, value = record["mark"]
                losses = torch.frombuffer(bytearray(base64.b64decode(record["losses"])), dtype=torch.float32)
                mark = Mark("steps", int(value)) if clock == "steps" else Mark("seconds", float(value))
                return Measurement(**{**record, "mark": mark, "losses": losses.double()})
            case "withdrawal":
                return Withdrawal(int(record["candidate"]), str(record["reason"]))
            case "distance" if math.isfinite(record["frechet"]):
                return Distance(str(record["run"]), float(record["frechet"]))
            case _:
                return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
