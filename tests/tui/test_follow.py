"""One app follows another through a file: screens, steps, benches, and what cannot be followed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from lesson import app_of, header, lesson, notifications, write_runs
from textual.pilot import Pilot
from textual.widgets import Input
from waiting import until

from core.convolution import named_kernel
from core.engine.lab_messages import (
    ConvolutionRequest,
    CorruptionRequest,
    InsideRequest,
    LayerKernel,
    TransposedRequest,
)
from core.engine.plane_messages import PlaneRequest
from core.engine.protocol import DatasetImage, DrawnImage, SampleRequest, Start
from core.engine.training_messages import TrainingRequest
from core.errors import MinidiffError
from tui.app import MinidiffApp
from tui.follow import current_view
from tui.io.lead_file import (
    CompareView,
    DevicesView,
    LabView,
    RunsView,
    SampleView,
    TrainView,
    View,
    ViewReader,
    check_replaceable,
    write_view,
)
from tui.screens.help import HelpScreen
from tui.screens.lab import LabScreen
from tui.screens.sample import SampleScreen
from tui.screens.zoom import ZoomScreen
from tui.settings import Settings
from tui.widgets.compact_select import CompactSelect

SECONDS = 1.0  # from the teacher's key to the student's screen


# Screens


@pytest.mark.usefixtures("builtin")
async def test_the_step_the_enlarged_image_and_the_settings_follow(model_root: Path, tmp_path: Path) -> None:
    async with lesson(tmp_path, model_root, mode="sample", still=False) as both:
        await both.press("home", "right", "right")  # in the recording, which stays while it is paused
        await both.shows(lambda view: isinstance(view, SampleView) and view.step == 2)
        assert "following lesson.json" in header(both.student)
        await both.press("v", "z")
        await until(both.teacher, lambda: isinstance(both.teacher.app.screen, ZoomScreen), "the zoom is open")
        await both.press("tab")
        await both.shows(lambda view: isinstance(view, SampleView) and view.change and view.zoomed == 1)
        zoom = both.student.app.screen
        assert isinstance(zoom, ZoomScreen)
        await both.press("full_stop")
        await both.until(lambda: "step 3 of" in str(zoom.query_one("Vertical").border_title), "the zoom is drawn again")
        await both.press("escape")
        await both.until(lambda: isinstance(both.student.app.screen, SampleScreen), "the zoom is closed")
        teachers, students = both.teacher.app.screen, both.student.app.screen
        assert isinstance(teachers, SampleScreen)
        assert isinstance(students, SampleScreen)
        for field, value in (("steps", "3"), ("images", "2"), ("seed", "17")):
            teachers.query_one(f"#{field}", Input).value = value
        await teachers.choose_model("tiny")
        await both.until(lambda: finished(both.teacher) and finished(both.student), "both are sampled")
        await both.press("end", "left")
        await both.shows(lambda view: isinstance(view, SampleView) and view.step == 2)
        assert students.bar.read() == teachers.bar.read()
        assert students.denoising == teachers.denoising
        write_view(both.file, SampleView(request=SampleRequest(model="secret"), step=0, change=False, zoomed=None))
        await both.until(lambda: any("no model secret" in text for text in notifications(both.student)), "it is named")
        assert students.shared_view.request == teachers.shared_view.request
        assert app_of(both.student).follower is not None
        assert not app_of(both.student).follower.paused


def finished(pilot: Pilot[None]) -> bool:
    screen = app_of(pilot).screen
    shown = screen.denoising if isinstance(screen, SampleScreen) else None
    return shown is not None and (shown.model, shown.seed, shown.complete) == ("tiny", 17, True)


async def test_the_screen_and_the_run_follow(tmp_path: Path) -> None:
    write_runs(tmp_path, "newest", "older", "oldest")
    async with lesson(tmp_path, tmp_path) as both:
        await until(
            both.teacher, lambda: current_view(app_of(both.teacher)) == RunsView(run="newest"), "runs are listed"
        )
        await both.press("down")
        await both.shows(lambda view: view == RunsView(run="older"))
        await both.press("enter")
        await both.shows(lambda view: view == TrainView(run="older"))
        delays = []
        for key, view in (("4", DevicesView()), ("3", RunsView(run="older")), ("4", DevicesView())):
            began = time.monotonic()
            await both.press(key)
            await both.shows(lambda shown, view=view: shown == view)
            delays.append(time.monotonic() - began)
        assert min(delays) < SECONDS  # on a busy machine, some take longer


async def test_what_is_missing_here_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "students").mkdir()
    write_runs(tmp_path / "teachers", "digits")
    write_runs(tmp_path / "students", "mine")
    async with lesson(tmp_path, tmp_path / "teachers", students=tmp_path / "students") as both:
        await both.until(lambda: "there is no run digits in this list" in notifications(both.student), "it is named")
        write_view(both.file, TrainView(run="digits"))
        named = "there is no run digits under"
        await both.until(lambda: any(named in text for text in notifications(both.student)), "it is named")
        assert "following" in header(both.student)


async def test_the_bench_and_its_fields_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    async with lesson(tmp_path, tmp_path, mode="lab") as both:
        teachers, students = both.teacher.app.screen, lambda: both.student.app.screen
        assert isinstance(teachers, LabScreen)
        await both.until(lambda: isinstance(students(), LabScreen), "the Lab follows")
        teachers.open("convolution")
        await both.until(lambda: students().bench.NAME == "convolution", "the bench follows")  # type: ignore[attr-defined]
        teachers.query_one("#convolution #stride", Input).value = "2"
        teachers.query_one("#image-index", Input).value = "7"
        teachers.query_one("#convolution #kernel", CompactSelect).value = "emboss"
        await both.until(lambda: text_of(students(), "#convolution #stride") == "2", "the stride follows")
        await both.until(lambda: text_of(students(), "#image-index") == "7", "the image follows")
        await both.until(lambda: text_of(students(), "#convolution #kernel") == "emboss", "the kernel follows")
        assert text_of(students(), "#convolution #numbers") == text_of(teachers, "#convolution #numbers")
        teachers.open("corruption")
        teachers.query_one("#corruption #steps", Input).value = "5"
        await both.until(lambda: text_of(students(), "#corruption #steps") == "5", "the number of steps follows")
        assert students().bench.NAME == "corruption"  # type: ignore[attr-defined]


def text_of(screen: object, selector: str) -> str:
    assert isinstance(screen, LabScreen)
    return str(screen.query_one(selector).value)  # type: ignore[attr-defined]


# Taking over


async def test_a_key_that_changes_the_screen_pauses_until_one_key_follows_again(tmp_path: Path) -> None:
    write_runs(tmp_path, "newest", "older")
    async with lesson(tmp_path, tmp_path) as both:
        await both.until(lambda: both.shown == RunsView(run="newest"), "the screen follows")
        await both.student.press("question_mark")
        assert isinstance(both.student.app.screen, HelpScreen)
        await both.press("down")
        await both.student.press("escape")
        await both.until(lambda: both.shown == RunsView(run="older"), "help does not pause")
        await both.student.press("up")
        await both.until(lambda: "paused lesson.json" in header(both.student), "it is paused")
        assert "F follows lesson.json again" in notifications(both.student)[-1]
        await both.press("4")
        await until(both.teacher, lambda: ViewReader(both.file).read() == DevicesView(), "the file is written")
        assert both.shown == RunsView(run="newest")
        assert "Follow" in [
            command.title for command in app_of(both.student).get_system_commands(both.student.app.screen)
        ]
        await both.student.press("F")
        await both.shows(lambda view: view == DevicesView())
        await both.until(lambda: "following lesson.json" in header(both.student), "the header says so")


async def test_a_broken_file_is_one_message_and_following_continues_with_the_next(tmp_path: Path) -> None:
    file = tmp_path / "lesson.json"
    app = MinidiffApp(tmp_path, mode="devices", settings=Settings(reduced_motion=True), follow=file)
    async with app.run_test(size=(60, 20)) as pilot:
        await until(pilot, lambda: app.shared_status == "waiting for lesson.json", "it waits for the file")
        file.write_text('{"format": "minidiff screen", "version": 1, "view"')
        await until(pilot, lambda: app.shared_status == "invalid lesson.json", "it is invalid")
        await until(pilot, lambda: len(app._notifications) == 1, "it says so")
        write_view(file, RunsView(run=None))
        await until(pilot, lambda: current_view(app) == RunsView(run=None), "it follows")
        assert header(pilot).startswith(" following")
        file.unlink()
        await until(pilot, lambda: app.shared_status == "waiting for lesson.json", "it waits again")
        assert len(app._notifications) == 1


async def test_the_file_is_removed_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "lesson.json"
    app = MinidiffApp(tmp_path, mode="devices", lead=file)
    async with app.run_test() as pilot:
        await until(pilot, file.exists, "the file is written")
        assert "leading lesson.json" in header(pilot)
    assert not file.exists()


async def test_a_file_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="devices", lead=tmp_path / "nowhere" / "lesson.json")
    async with app.run_test() as pilot:
        await until(pilot, lambda: len(app._notifications) == 1, "it says so")
        await pilot.press("3")
        await until(pilot, lambda: current_view(app) == RunsView(run=None), "the app continues")
        (message,) = notifications(pilot)
        assert message.startswith("cannot write ")


# The file

VIEWS: list[View] = [
    SampleView(request=None, step=0, change=False, zoomed=None),
    SampleView(
        request=SampleRequest(model="a", steps=3, guidance=1.5, start=Start(DrawnImage("00ff"), 0.5, ("01",))),
        step=2,
        change=True,
        zoomed=4,
    ),
    CompareView(panes=(SampleRequest(model="a", n=2), SampleRequest(model="b", n=2)), selected=1, step=3, states=True),
    TrainView(run="run"),
    RunsView(run=None, marked=("b", "a")),
    DevicesView(),
    LabView(
        bench="plane",
        request=PlaneRequest(points=DrawnImage("00ff"), path="vp", prediction="v", label=1, against=0, compare=(1, 80)),
        step=60,
    ),
    LabView(
        bench="convolution",
        request=ConvolutionRequest(
            model="a", image=DatasetImage("mnist", 3), kernel=named_kernel("box blur"), stride=1, padding=0,
            padding_mode="zeros", dilation=1, flip=True,
        ),
        step=7,
    ),
    LabView(
        bench="transposed",
        request=TransposedRequest(
            model="a", image=DrawnImage("00"), kernel=LayerKernel("into", 0, 1), side=4, stride=2, padding=0, dilation=1
        ),
        step=0,
    ),
    LabView(
        bench="corruption",
        request=CorruptionRequest(model="a", image=DatasetImage("mnist", 3), steps=4, label=None, first=2),
        step=1,
    ),
    LabView(
        bench="training",
        request=TrainingRequest(
            model="a", image=DatasetImage("mnist", 3), steps=4, batch_size=2, t=None, learning_rate=0.001
        ),
        step=3,
    ),
    LabView(
        bench="inside",
        request=InsideRequest(
            model="a", image=DatasetImage("mnist", 3), t=0.1, label=3, layer="", pixel=(1, 2), skips=False
        ),
        step=0,
    ),
]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: type(view).__name__)
def test_a_view_is_read_as_it_was_written(view: View, tmp_path: Path) -> None:
    write_view(tmp_path / "file", view)
    assert ViewReader(tmp_path / "file").read() == view


def test_the_file_can_be_read_by_others_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_view(tmp_path / "file", DevicesView())
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_reader_reads_a_new_file_and_not_the_same_one_twice(tmp_path: Path) -> None:
    reader = ViewReader(tmp_path / "file")
    write_view(tmp_path / "file", TrainView(run="a"))
    first = reader.read()
    assert reader.read() is first
    write_view(tmp_path / "file", TrainView(run="b"))
    assert reader.read() == TrainView(run="b")


def record(view: object, version: object = 1) -> bytes:
    return json.dumps({"format": "minidiff screen", "version": version, "view": view}).encode()


FOREIGN = "is not a file written by minidiff-tui --lead"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", FOREIGN),
        (b"\xff\x00", FOREIGN),
        (b'{"format": "minidiff scr', FOREIGN),
        (b"[" * 100_000, FOREIGN),
        (b'{"a": 1}', FOREIGN),
        (b"[]", FOREIGN),
        (b" " * 300_000 + record({"type": "DevicesView"}), FOREIGN),
        (record({"type": "DevicesView"}, version=2), "was written by another version of minidiff"),
        (record({"type": "DevicesView"}, version=None), "was written by another version of minidiff"),
        (record({"type": "SecretView"}), "is invalid: view must be"),
        (record(None), "is invalid: view must be"),
        (record({"type": "TrainView"}), "is invalid: run is missing"),
        (record({"type": "TrainView", "run": 3}), "is invalid: run must be"),
        (
            record({"type": "LabView", "bench": "inside", "request": {"type": "InsideRequest"}, "step": 0}),
            "is invalid:",
        ),
    ],
)
def test_another_file_is_an_error_of_one_line_and_is_not_replaced(content: bytes, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    for read in (ViewReader(file).read, lambda: check_replaceable(file)):
        with pytest.raises(MinidiffError) as raised:
            read()
        assert f"{file} {problem}" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_folder_and_a_pipe_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(MinidiffError, match=r"cannot read .*: it is (a directory|not a regular file)"):
            ViewReader(path).read()


def test_no_file_and_an_own_file_may_be_replaced(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "file")
    write_view(tmp_path / "file", DevicesView())
    check_replaceable(tmp_path / "file")


async def test_values_that_do_not_exist_here_are_no_crash(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=Settings(reduced_motion=True))
    image = DatasetImage("/etc/passwd", -1)
    request = InsideRequest(
        model="default-mnist", image=image, t=1e300, label=99, layer="nowhere", pixel=(-5, 9000), skips=True
    )
    kernel = ConvolutionRequest(
        model="default-mnist", image=DrawnImage("xyz"), kernel=((1.0,), ()), stride=-1, padding=10**30,
        padding_mode="", dilation=0, flip=True, channel=9,
    )  # fmt: skip
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, LabScreen)
        await screen.follow(LabView(bench="inside", request=request, step=-3))
        await pilot.pause()
        with pytest.raises(MinidiffError, match="image takes the index of a test image"):
            _ = screen.subject
        with pytest.raises(MinidiffError, match="the drawn image is not one of 28x28 pixels"):
            await screen.follow(LabView(bench="convolution", request=kernel, step=10**30))
        await screen.follow(LabView(bench="convolution", request=replace(kernel, image=image), step=10**30))
        with pytest.raises(MinidiffError, match="there is no model secret"):
            await screen.follow(LabView(bench="inside", request=replace(request, model="secret"), step=0))
        with pytest.raises(MinidiffError, match="there is no bench 'secret'"):
            await screen.follow(LabView(bench="secret", request=None, step=0))
