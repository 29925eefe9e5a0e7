"""Events as lines of a log: what is written is read back, and damage is not taken for an event."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import TYPES, Event, Preview, Progress, Stopped, from_line, to_line

BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(0, 2**53),
    "int | None": st.none() | st.integers(0, 2**53),
    "float": st.floats(0, 1e12, allow_subnormal=False),
    "str": st.text(),
}


def events() -> st.SearchStrategy[Event]:
    kinds = []
    for cls in TYPES.values():
        if cls is not Preview:
            values = {spec.name: BY_TYPE[str(spec.type)] for spec in dataclasses.fields(cls)}
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
    return st.one_of(*kinds, previews)


@given(events())
@settings(max_examples=200, deadline=None)
def test_an_event_comes_back_from_its_line(event: Event) -> None:
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
        elif isinstance(before, float):
            assert after == pytest.approx(before, rel=1e-6)
        else:
            assert after == before


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


def test_what_was_not_measured_stays_none() -> None:
    back = from_line(to_line(progress(memory=None)))
    assert isinstance(back, Progress)
    assert back.memory is None


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_half_a_line_is_no_event(data: st.DataObject) -> None:
    line = to_line(data.draw(events())).rstrip("\n")
    assert from_line(line[: data.draw(st.integers(0, len(line) - 1))]) is None


@given(st.text() | st.binary().map(lambda content: content.decode("utf-8", errors="replace")))
@settings(max_examples=100, deadline=None)
def test_any_other_text_is_no_event(line: str) -> None:
    assert from_line(line) is None


GOOD = json.loads(to_line(progress()))
IMAGES = json.loads(to_line(Preview(epoch=1, step=1, count=1, height=2, width=2, images=b"\0" * 4)))


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
    ],
)
def test_a_record_that_makes_no_sense_is_no_event(record: Any) -> None:
    assert from_line(json.dumps(record)) is None


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert from_line(json.dumps({**GOOD, "gradient_norm": 1.0})) == from_line(json.dumps(GOOD))


def test_every_kind_of_the_design_is_there() -> None:
    assert set(TYPES) == {
        *("started", "resumed", "dataset", "download", "progress", "epoch", "preview", "evaluated", "checkpoint"),
        *("paused", "continued", "warning", "stopped", "finished", "failed"),
    }


def test_events_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Stopped(step=1, reason="asked").step = 2  # type: ignore[misc]
