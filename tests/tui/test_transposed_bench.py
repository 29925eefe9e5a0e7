"""The transposed bench: fields, steps and views on a real engine, and a script that computes the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from textual.widgets import Input, Static
from torch import Tensor
from torch.nn import functional
from waiting import until

from core.engine.lab_messages import TransposedReply
from core.engine.protocol import Array, LabRequest
from core.system import subprocesses
from tui.app import MinidiffApp
from tui.lab.bench import Bench
from tui.lab.image_canvas import ImageCanvas
from tui.lab.lab_input import LabInput
from tui.lab.picture_panel import PicturePanel
from tui.lab.product_table import ProductTable
from tui.lab.transposed import TransposedBench
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.widgets.compact_select import CompactSelect

if TYPE_CHECKING:
    from textual.pilot import Pilot

CALM = Settings(reduced_motion=True)


def lab_of(app: MinidiffApp) -> LabScreen:
    assert isinstance(app.screen, LabScreen)
    return app.screen


async def opened(app: MinidiffApp, pilot: Pilot[None]) -> TransposedBench:
    """The bench, in sight."""
    await pilot.pause()
    lab_of(app).open("transposed")
    await pilot.pause()
    bench = lab_of(app).bench
    assert isinstance(bench, TransposedBench)
    return bench


def fill(bench: Bench, **fields: str) -> None:
    for name, value in fields.items():
        bench.query_one(f"#{name}", Input).value = value


def shown_text(bench: Bench, where: str = ".description") -> str:
    return str(bench.query_one(where, Static).render())


def title(bench: Bench, panel: str) -> str:
    """The title of a panel."""
    return bench.query_one(f"#{panel}", PicturePanel).shown_title


def tensor(array: Array) -> Tensor:
    return torch.tensor(array.values).reshape(array.shape)


def seen(bench: Bench) -> list[str]:
    """The views in sight."""
    return [name for name in ("output", "overlaps", "upsampled") if bench.query_one(f"#{name}").region.width]


def answer(side: int = 2, size: int = 3, stride: int = 2) -> TransposedReply:
    """A reply of the engine for a map of ones and a kernel of ones."""
    grown = (side - 1) * stride + size
    outputs = torch.zeros(side * side, grown, grown)
    origins = [(row * stride, column * stride) for row in range(side) for column in range(side)]
    for index, (top, left) in enumerate(origins):
        outputs[index:, top : top + size, left : left + size] += 1

    def array(values: Tensor) -> Array:
        return Array(tuple(values.shape), values.flatten().tolist())

    return TransposedReply(
        label=2,
        padding=0,
        dilation=1,
        formula=f"… = {grown}",
        origins=tuple(origins),
        image=array(torch.ones(side, side)),
        kernel=array(torch.ones(size, size)),
        spreads=array(torch.ones(side * side, size, size)),
        outputs=array(outputs),
        overlaps=array(outputs[-1]),
        upsampled=array(torch.ones(side * stride, side * stride)),
    )


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An engine that never starts; the types of the requests sent to it."""
    sent: list[str] = []

    async def show_lab(engine: object, request: LabRequest) -> None:
        sent.append(type(request).__name__)

    monkeypatch.setattr("tui.io.engine_client.EngineClient.show_lab", show_lab)
    return sent


async def test_engine_replies_match_torch_and_follow_the_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path / "nothing"))  # the script below reads glyphs, not MNIST
    monkeypatch.chdir(tmp_path)
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(120, 40)) as pilot:
        bench = await opened(app, pilot)
        await until(pilot, lambda: bench.shown is not None, "the bench is shown")
        assert bench.timeline is not None
        assert bench.timeline.steps == 35
        assert bench.shown is not None
        small = bench.shown.image.values
        at = bench.timeline.position  # it opens at the last ink, with the output almost whole
        assert small[at] >= max(small) / 3 > max(small[at + 1 :])
        assert title(bench, "output") == "output 13x13"
        assert title(bench, "overlaps") == "overlaps: 1 to 4 kernels, 13x13"
        assert title(bench, "upsampled") == "upsampled, then convolved, 12x12"
        formula = bench.query_one("#output", PicturePanel).shown_note
        assert formula == "side (6 - 1)·2 - 2·0 + 1·(3 - 1) + 1 = 13"

        fill(bench, side="5", stride="3", padding="2", dilation="2", numbers="1 2; 3 4; -5 1/2")
        await until(pilot, lambda: title(bench, "output") == "output 13x11", "the output has another size")
        assert bench.query_one("#kernel", CompactSelect).chosen == "custom"
        assert bench.timeline.steps == 24
        assert bench.timeline.position == round(at / 35 * 24)  # the same part of the way
        reply = bench.shown
        kernel = torch.tensor([[1, 2], [3, 4], [-5, 0.5]])
        expected = functional.conv_transpose2d(
            tensor(reply.image)[None, None], kernel[None, None], stride=3, padding=2, dilation=2
        )
        assert torch.allclose(tensor(reply.outputs)[-1], expected[0, 0], atol=1e-5)
        assert torch.equal(tensor(reply.kernel), kernel)

        script = bench.script(LabInput("glyphs", 0, "default-mnist"))
        command = [sys.executable, "-c", "\n".join(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=subprocesses.environment())
        assert done.returncode == 0, done.stderr
        assert "output (13, 11) from" in done.stdout
        assert "upsampled (15, 15)" in done.stdout
        assert float(done.stdout.split(" to ")[1].split()[0]) == pytest.approx(float(expected.max()), abs=1e-4)


@pytest.mark.usefixtures("builtin")
async def test_a_kernel_of_a_layer_and_one_without_output(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(80, 24)) as pilot:
        bench = await opened(app, pilot)
        fill(bench, side="2", stride="1", padding="6")
        await until(pilot, lambda: "reduce the padding" in shown_text(bench), "the engine says that nothing is left")
        assert bench.query_one("#padding", Input).value == "6"
        bench.query_one("#padding", Input).focus()
        await pilot.press("enter")
        await until(pilot, lambda: "reduce the padding" in shown_text(bench), "asked again, it says so again")
        fill(bench, padding="0")
        bench.query_one("#kernel", CompactSelect).value = "from a layer"
        await until(pilot, lambda: title(bench, "output") == "output 4x4", "the layer's kernel is spread")
        assert any('load_model("default-mnist"' in line for line in bench.script(lab_of(app).subject))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("side", "9", "side takes a whole number from 2 to 8, not 9"),
        ("stride", "", "stride takes a whole number from 1 to 4, not nothing"),
        ("padding", "7", "padding takes a whole number from 0 to 6, not 7"),
        ("dilation", "x", "dilation takes a whole number from 1 to 3, not x"),
        ("numbers", "1 two", "'two' is not a number; write numbers such as 2, -0.5 or 1/9"),
    ],
)
async def test_an_invalid_field_is_explained_and_keeps_its_text(
    field: str, text: str, says: str, tmp_path: Path
) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(80, 24)) as pilot:
        bench = await opened(app, pilot)
        before = bench.query_one(f"#{field}", Input).value
        fill(bench, **{field: text})
        await until(pilot, lambda: shown_text(bench) == says, "it says what is wrong")
        assert bench.query_one(f"#{field}", Input).value == text
        fill(bench, **{field: before})
        await until(pilot, lambda: shown_text(bench).startswith("Each value adds"), "all is well again")


async def test_only_the_visible_bench_sends_requests(quiet: list[str], tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert set(quiet) == {"PlaneRequest"}
        bench = await opened(app, pilot)
        await until(pilot, lambda: quiet[-1] == "TransposedRequest", "the bench asks when it is opened")
        await pilot.press("N")
        assert bench.query_one("#kernel", CompactSelect).chosen == "random"


@pytest.mark.usefixtures("quiet")
async def test_each_step_shows_the_products_of_a_value_and_their_position(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(120, 40)) as pilot:
        bench = await opened(app, pilot)
        bench.show_reply(answer())
        await pilot.press("home")
        assert said(bench) == [
            "value",
            "1",
            "× kernel",
            *["1 1 1"] * 3,
            "= added at",
            *["1 1 1"] * 3,
            "row 0, column 0",
        ]
        first = bench.query_one("#output ImageCanvas", ImageCanvas)._image
        await pilot.press("right", "right")
        assert said(bench)[-1] == "row 2, column 0"
        assert title(bench, "given") == "small map 2x2"
        assert bench.query_one("#given", PicturePanel).shown_note == "row 1, column 0"
        await pilot.press("end")
        last = bench.query_one("#output ImageCanvas", ImageCanvas)._image
        assert first.count(0) > last.count(0) == 0
        assert [panel.title for panel in bench.panels()] == ["small map", "output", "overlaps", "upsampled"]
        assert bench.panels()[1].image == last


def said(bench: Bench) -> Sequence[str]:
    """The lines of the sum."""
    return [" ".join(line.split()) for line in str(bench.query_one(ProductTable).render()).splitlines() if line.strip()]


@pytest.mark.usefixtures("quiet")
async def test_views_can_be_switched_if_there_is_no_room_for_all(tmp_path: Path) -> None:
    app = MinidiffApp(tmp_path, mode="lab", settings=CALM)
    async with app.run_test(size=(80, 24)) as pilot:
        bench = await opened(app, pilot)
        bench.show_reply(answer())
        await pilot.pause()
        assert seen(bench) == ["output", "overlaps"]
        await pilot.press("v")
        assert seen(bench) == ["output", "upsampled"]
        await pilot.resize_terminal(60, 20)
        await pilot.press("v")
        shown = [seen(bench)]
        for _ in range(2):
            await pilot.press("v")
            shown.append(seen(bench))
        assert sorted(shown) == [["output"], ["overlaps"], ["upsampled"]]
        assert title(bench, shown[-1][0]).startswith("v ")
        bench.show_reply(answer(size=7))
        await pilot.pause()
        assert not bench.query_one(ProductTable).display  # its numbers would leave no room for the pictures
        await pilot.resize_terminal(120, 40)
        assert seen(bench) == ["output", "overlaps", "upsampled"]
        await pilot.press("v")
        assert seen(bench) == ["output", "overlaps", "upsampled"]
        assert bench.query_one(ProductTable).display


async def test_a_frame_that_starts_outside_is_clipped() -> None:
    from textual.app import App
    from textual.geometry import Region

    app: App[None] = App()
    async with app.run_test() as pilot:
        board = ImageCanvas()
        await app.mount(board)
        board.show_image(bytes(16), (4, 4), frame=Region(-1, -2, 5, 5), spacing=2)
        await pilot.pause()
        framed = [(y, x) for y, row in enumerate(board._levels(4)) for x, code in enumerate(row) if code > 17]
        assert framed == [(0, 1), (0, 3), (2, 1), (2, 3)]
