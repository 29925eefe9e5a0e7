"""Events as lines of a log: round trips, and rejection of damaged lines."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.runs.events import (
    IMAGE_BYTES,
    LINE_BYTES,
    TYPES,
    DatasetLoaded,
    Event,
    LossByLevel,
    Preview,
    Progress,
    Started,
    Stopped,
    Warned,
    from_line,
    to_line,
)
from core.text import sanitize

BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(0, 2**53),
    "int | None": st.none() | st.integers(0, 2**53),
    "float": st.floats(0, 1e11, allow_subnormal=False),  # times up to the year 9999
    "str": st.text(),
}
COUNTS = {"epochs": st.integers(1, 2**53), "steps_per_epoch": st.integers(1, 2**53)}


def events() -> st.SearchStrategy[Event]:
    kinds = []
    for cls in TYPES.values():
        if cls not in (Preview, LossByLevel):
            values = {spec.name: BY_TYPE[str(spec.type)] for spec in dataclasses.fields(cls)}
            values |= {name: counts for name, counts in COUNTS.items() if name in values}
            if cls is Progress:
                values["loss_max"] = st.floats(1e11, 1e30)
            kinds.append(st.builds(cls, **values))
    sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
    previews = sizes.flatmap(
        lambda s: st.builds(
            Preview,
            time=st.just(1.7e9),
            epoch=st.integers(1, 99),
            step=st.integers(0, 99),
            count=st.just(s[0]),
            height=st.just(s[1]),
            width=st.just(s[2]),
            images=st.binary(min_size=math.prod(s), max_size=math.prod(s)),
        )
    )
    losses = st.lists(st.tuples(st.floats(0, 1), *[st.floats(0, 1e30, allow_subnormal=False)] * 2), unique_by=_level)
    by_level = losses.map(
        lambda points: LossByLevel(
            time=1.7e9, epoch=1, step=2, n=4, loss=0.5, floor=0.25, seconds=1.0,
            levels=tuple(_level(point) for point in sorted(points)),
            losses=tuple(point[1] for point in sorted(points)),
            floors=tuple(point[2] for point in sorted(points)),
        )
    )  # fmt: skip
    return st.one_of(*kinds, previews, by_level)


def _level(point: tuple[float, ...]) -> float:
    """A noise level, which the log keeps exactly."""
    return round(point[0], 6)


@given(events())
@settings(max_examples=200, deadline=None)
def test_an_event_survives_a_round_trip(event: Event) -> None:
    line = to_line(event)
    assert line.endswith("\n")
    assert line.isascii()
    assert len(line.splitlines()) == 1
    back = from_line(line)
    assert type(back) is type(event)
    for spec in dataclasses.fields(event):
        before, after = getattr(event, spec.name), getattr(back, spec.name)
        if spec.name == "time":
            assert after == pytest.approx(before, abs=0.000_6)
        elif isinstance(before, float | tuple):
            assert after == pytest.approx(before, rel=1e-6)
        else:
            assert after == (sanitize(before) if isinstance(before, str) else before)


def progress(**changes: Any) -> Progress:
    values = {"step": 1, "epoch": 1, "loss": 0.1, "loss_min": 0.1, "loss_max": 0.1, "memory": None}
    return Progress(**{**values, "images_per_second": 1.0, "learning_rate": 1e-3, **changes})


@pytest.mark.parametrize("value", [1e-8, 3.25e-12, 123456.7])
def test_small_numbers_are_not_rounded_away(value: float) -> None:
    back = from_line(to_line(progress(learning_rate=value)))
    assert isinstance(back, Progress)
    assert back.learning_rate == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_in_the_log_and_nan_when_read(value: float) -> None:
    line = to_line(progress(loss=value))
    assert json.loads(line)["loss"] is None
    back = from_line(line)
    assert isinstance(back, Progress)
    assert math.isnan(back.loss)


def test_unmeasured_values_stay_none() -> None:
    back = from_line(to_line(progress(memory=None)))
    assert isinstance(back, Progress)
    assert back.memory is None


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_partial_line_is_not_an_event(data: st.DataObject) -> None:
    line = to_line(data.draw(events())).rstrip("\n")
    assert from_line(line[: data.draw(st.integers(0, len(line) - 1))]) is None


@given(st.text() | st.binary().map(lambda content: content.decode("utf-8", errors="replace")))
@settings(max_examples=100, deadline=None)
def test_any_other_text_is_not_an_event(line: str) -> None:
    assert from_line(line) is None


GOOD = json.loads(to_line(progress()))


def deflated(size: int) -> str:
    return base64.b64encode(zlib.compress(bytes(size))).decode("ascii")


IMAGES = json.loads(to_line(Preview(epoch=1, step=1, count=1, height=2, width=2, images=b"\0" * 4)))

LOADED = json.loads(to_line(DatasetLoaded(name="mnist", source="", train=0, test=0, sha256="", steps_per_epoch=1)))
STARTED = json.loads(to_line(Started(name="a", device="cpu", threads=1, parameters=1, epochs=1)))


@pytest.mark.parametrize(
    "record",
    [
        [],
        5,
        None,
        {},
        {"event": "unheard of"},
        {"event": ["progress"]},
        {"event": "stopped"},
        {**GOOD, "step": None},
        {**GOOD, "step": "7"},
        {**GOOD, "step": 1.5},
        {**GOOD, "loss": "small"},
        {**GOOD, "time": [1]},
        {**GOOD, "memory": "much"},
        {**IMAGES, "images": "no base64 of deflated bytes"},
        {**IMAGES, "images": 5},
        {**IMAGES, "count": 2},
        {**IMAGES, "count": -1, "height": -2},
        {**IMAGES, "images": deflated(IMAGE_BYTES + 1), "count": IMAGE_BYTES + 1, "height": 1, "width": 1},
        {**GOOD, "step": -1},
        {**GOOD, "step": True},
        {**GOOD, "step": 2**53 + 1},
        {**GOOD, "time": 10**400},
        {**GOOD, "time": -1},
        {**GOOD, "time": 1e300},
        {**GOOD, "time": None},
        {**GOOD, "loss_min": 0.2, "loss_max": 0.1},
        {**GOOD, "images_per_second": -1.0},
        {**GOOD, "images_per_second": None},
        {"event": "finished", "step": 1, "seconds": None, "time": 1.0},
        {"event": "finished", "step": 1, "seconds": -5, "time": 1.0},
        {**LOADED, "steps_per_epoch": 0},
        {**STARTED, "epochs": 0},
    ],
)
def test_an_invalid_record_is_not_an_event(record: Any) -> None:
    assert from_line(json.dumps(record)) is None


@pytest.mark.parametrize("nest", ["[", '{"a":'])
def test_a_too_deeply_nested_line_is_not_an_event(nest: str) -> None:
    assert from_line('{"event":"warning","message":' + nest * 100_000) is None


def test_a_too_long_line_is_not_an_event() -> None:
    assert from_line(to_line(Warned(message="x" * LINE_BYTES))) is None


def test_a_number_of_thousands_of_digits_is_not_an_event() -> None:
    assert from_line(json.dumps(GOOD).replace(": 1,", f": {'9' * 5000},", 1)) is None


@pytest.mark.parametrize("value", ["1e39", "-1e39", "1e999", "NaN", "-Infinity", "9" * 400])
def test_a_loss_out_of_range_is_nan(value: str) -> None:
    event = from_line(json.dumps(GOOD).replace('"loss": 0.1', f'"loss": {value}'))
    assert isinstance(event, Progress)
    assert math.isnan(event.loss)


def test_images_that_would_inflate_to_a_gigabyte_allocate_no_memory() -> None:
    inner = zlib.compressobj(9)
    bomb = b"".join(inner.compress(bytes(2**20)) for _ in range(1024)) + inner.flush()
    line = json.dumps({**IMAGES, "images": base64.b64encode(bomb[:700_000]).decode("ascii")})
    tracemalloc.start()
    try:
        assert from_line(line) is None
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("\x1b[31mred\x1b]0;title\x07", "\ufffd[31mred\ufffd]0;title\ufffd"),
        ("one\ntwo\tthree\r", "one two three "),
        ("\x9b2J\x7f", "\ufffd2J\ufffd"),
        ("abc\u202edef\u2066", "abc\ufffddef\ufffd"),
        ("half \ud83d", "half \ufffd"),
        ("[red]kept[/red] é 数 ◆", "[red]kept[/red] é 数 ◆"),
    ],
)
def test_control_characters_are_replaced_in_every_text(raw: str, cleaned: str) -> None:
    event = from_line(json.dumps({"event": "warning", "time": 1.0, "message": raw}))
    assert event == Warned(time=1.0, message=cleaned)


def test_fields_of_a_newer_version_are_skipped() -> None:
    assert from_line(json.dumps({**GOOD, "gradient_norm": 1.0})) == from_line(json.dumps(GOOD))


def test_every_documented_event_type_exists() -> None:
    assert set(TYPES) == {
        *(
            "started",
            "resumed",
            "dataset",
            "download",
            "preparing",
            "progress",
            "epoch",
            "preview",
            "evaluated",
            "loss_by_level",
            "checkpoint",
        ),
        *("paused", "continued", "warning", "stopped", "finished", "failed"),
    }


def test_events_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stopped(step=1, reason="on request").step = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": [0.5, 0.5]},
        {"levels": [0.9, 0.1]},
        {"levels": [0.1, 1.5]},
        {"levels": [0.1, None]},
        {"levels": [0.1]},
        {"floors": [0.1, 0.2, 0.3]},
        {"losses": "0.1"},
        {"losses": [0.1, "0.2"]},
    ],
)
def test_losses_belong_to_ascending_noise_levels(changes: dict[str, Any]) -> None:
    event = LossByLevel(
        epoch=1, step=2, n=4, levels=(0.1, 0.9), losses=(0.3, 0.2), floors=(0.0, math.nan), loss=1.0, floor=0.5,
        seconds=1.0,
    )  # fmt: skip
    record = json.loads(to_line(event))
    assert from_line(json.dumps(record)) is not None
    assert from_line(json.dumps({**record, **changes})) is None
