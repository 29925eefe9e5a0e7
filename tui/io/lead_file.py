"""The file through which one app leads others: what its screen shows, as a small JSON object.

Requests are stored as the engine receives them, see `core.engine.protocol`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from core.engine.codec import from_record, to_record
from core.engine.ideal_messages import IdealRequest
from core.engine.lab_messages import ConvolutionRequest, CorruptionRequest, InsideRequest, TransposedRequest
from core.engine.plane_messages import PlaneRequest
from core.engine.protocol import SampleRequest
from core.engine.training_messages import TrainingRequest
from core.errors import MinidiffError
from core.system.atomic_write import write_atomically
from core.system.safe_io import opened, parse_json

FORMAT = "minidiff screen"
VERSION = 1
FILE_BYTES = 262_144  # maximum; a mask or a drawing takes a few thousand
MODE = 0o644  # readable by everyone


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleView:
    """The Sample screen."""

    request: SampleRequest | None  # None: nothing was sampled
    step: int
    change: bool  # whether the change of each step is shown
    zoomed: int | None  # index of the enlarged image


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareView:
    """The Compare screen."""

    panes: tuple[SampleRequest, ...]  # without options that are None, except the class; empty: not shown yet
    selected: int  # index of the marked pane
    step: int
    states: bool  # whether noisy states are shown, instead of predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainView:
    """The Train screen."""

    run: str | None  # None: the form


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsView:
    """The Runs screen."""

    run: str | None  # under the cursor; None: there are no runs
    marked: tuple[str, ...] = ()  # in the order in which they were marked


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesView:
    """The Devices screen."""


BenchRequest: TypeAlias = (
    PlaneRequest
    | ConvolutionRequest
    | TransposedRequest
    | CorruptionRequest
    | TrainingRequest
    | IdealRequest
    | InsideRequest
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabView:
    """The Lab."""

    bench: str
    request: BenchRequest | None  # None: a field is wrong
    step: int  # 0 for a bench without a timeline


View: TypeAlias = SampleView | CompareView | TrainView | RunsView | DevicesView | LabView


def write_view(path: Path, view: View) -> None:
    """Write a view to a file, which replaces an older one at once.

    Raises:
        MinidiffError: the file cannot be written.
    """
    record = {"format": FORMAT, "version": VERSION, "view": to_record(view)}
    try:
        write_atomically(path, json.dumps(record).encode() + b"\n", MODE)
    except OSError as error:
        raise MinidiffError(f"cannot write {path}: {error.strerror}") from None


def check_replaceable(path: Path) -> None:
    """Check that a file may be written to `path`: it does not exist, or is one that `write_view` wrote.

    Raises:
        MinidiffError: it is another file.
    """
    try:
        ViewReader(path).read()
    except FileNotFoundError:
        return
    except MinidiffError as error:
        raise MinidiffError(f"{error}; it is not replaced: choose another file") from None


class ViewReader:
    """Reads the views that `write_view` writes to a file; a view that was read before is returned again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None  # inode, time and size of the file that was read
        self._view: View | None = None
        self._problem = ""

    def read(self) -> View:
        """The view in the file.

        Raises:
            FileNotFoundError: there is no such file.
            MinidiffError: the file cannot be read, or holds no view of this version.
        """
        try:
            content = self._read_new()
        except FileNotFoundError:
            self._version = None
            raise
        except OSError as error:
            raise MinidiffError(f"cannot read {self._path}: {error.strerror}") from None
        if content is not None:
            self._view, self._problem = None, ""
            try:
                self._view = _parse(content)
            except ValueError as error:
                self._problem = f"{self._path} {error}"
        if self._view is None:
            raise MinidiffError(self._problem)
        return self._view

    def _read_new(self) -> bytes | None:
        """The content of the file, None if it was read before. Opening it, unlike stat, skips the cache of NFS."""
        with opened(self._path, follow=True) as file:
            status = os.fstat(file.fileno())
            version = status.st_ino, status.st_mtime_ns, status.st_size
            if version == self._version:
                return None
            content = file.read(FILE_BYTES + 1)
        self._version = version
        return content


def _parse(content: bytes) -> View:
    """The view in the content of a file; the message of the ValueError otherwise continues the file's name."""
    try:
        record = parse_json(content[:FILE_BYTES])
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError("is not a file written by minidiff-tui --lead")
    if record.get("version") != VERSION:
        raise ValueError("was written by another version of minidiff; install the same version")
    try:
        view: View = from_record(record.get("view"), View, "view")
    except ValueError as error:
        raise ValueError(f"is invalid: {error}") from None
    return view
