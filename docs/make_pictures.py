"""Makes every picture in docs/images from the app itself: `python docs/make_pictures.py`.

The app runs without a terminal, is given keys, and exports its own screen as SVG at each size. The Sample screen plays
the built-in model; the other screens show short trainings and a race that are run here, one training while it is looked
at. It takes some minutes on two cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from animation import Scene, animated
from lab_pictures import show_bench, take_lab, write_sliding
from PIL import Image
from run_pictures import make_race, take_history, take_race
from textual.pilot import Pilot

from core import TrainConfig, train
from core.data import sprites
from core.errors import MinidiffError
from core.export.images import write_figure, write_gif
from core.runs.directory import BUILTIN, EVENTS, builtin_directories
from core.runs.events import Epoch
from core.runs.history import RunHistory
from core.runs.launcher import launch
from core.runs.requests import request
from core.runs.store import create_run
from core.runs.trajectory import RECORDING, Denoising, load_recording
from tui.app import MinidiffApp
from tui.io.system_monitor import SystemMonitor
from tui.screens.compare import CompareScreen
from tui.screens.lab import LabScreen
from tui.settings import Settings
from tui.themes import DARK, LIGHT
from tui.widgets.curve_plot import CurvePlot
from tui.widgets.description import DescriptionView
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.run_form import RunForm

IMAGES = Path(__file__).resolve().parent / "images"
SCENE_SIZE = (100, 30)  # of the animation in the README
SIZES = ((80, 24), (120, 40), (200, 60))
FIRST_SCREEN = (120, 38)  # the least width at which 3 digits of 18 pixels stand side by side
MIDWAY = 18  # of the 40 steps of the comparison: one side is ahead of the other in what can be read
LATE = 8  # the step at which noise is still seen and every digit can be read
ROOT = Path("checkpoints")  # in a temporary folder, so that pictures name no place on this machine
RACES = Path("races")  # beside it, so that the runs of the race are not listed
PATIENCE = 300.0  # seconds
DEVICE_SECONDS = 5.0  # of the devices' past that is looked at
LIVE_EPOCH = 10  # of the training that is looked at

# Rich's geometry of an exported screen, in SVG units.
CELL_WIDTH, CELL_HEIGHT, TOP, TAILS = 12.2, 24.4, 1.5, 6
PLACE = r'x="([\d.]+)" y="([\d.]+)"'
BACKGROUND = rf'<rect fill="(#\w+)" {PLACE} width="([\d.]+)" height="24\.65" shape-rendering="crispEdges"/>'
# By which of upper left, upper right, lower left and lower right are filled: 8, 4, 2, 1.
BLOCKS = {letter: shape for shape, letter in enumerate(" ▗▖▄▝▐▞▟▘▚▌▙▀▜▛█") if shape}
BLOCK_TEXT = (
    rf'<text class="(\S+)" x="([\d.]+)" y="\S+" textLength="[\d.]+" clip-path="\S+-line-(\d+)\)">'
    rf"([{''.join(BLOCKS)}]+)</text>"
)
FONTS = '"Fira Code", ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace'


def tidy(svg: str) -> str:
    """An exported screen that loads no font from elsewhere, with cells and blocks as one path a color.

    Drawn as text, blocks leave gaps in any font whose line is not exactly as high as Rich's; as paths they do not, and
    take a fifth of the room.
    """
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}").replace("&#160;", "\u00a0")
    # Rich cuts the screen off below the last line's letters, and p and y lose their tails.
    whole = re.compile(r'(-clip-terminal">\s*<rect x="0" y="0" width="\S+" height=")([\d.]+)')
    svg = whole.sub(lambda match: f"{match[1]}{float(match[2]) + TAILS:g}", svg, count=1)
    colors = dict(re.findall(r"\.(\S+-r\d+) \{ fill: (#\w+)", svg))
    behind: dict[str, list[str]] = defaultdict(list)
    front: dict[str, list[str]] = defaultdict(list)

    def background(match: re.Match[str]) -> str:
        color, x, y, width = match.groups()
        row = round((float(y) - TOP) / CELL_HEIGHT)
        behind[color].append(area(2 * round(float(x) / CELL_WIDTH), 2 * row, 2 * round(float(width) / CELL_WIDTH), 2))
        return ""

    def blocks(match: re.Match[str]) -> str:
        name, x, row, text = match.groups()
        left = 2 * round(float(x) / CELL_WIDTH)
        for half, bits in ((0, (8, 4)), (1, (2, 1))):
            filled = [bool(BLOCKS[letter] & bit) for letter in text for bit in bits]
            at = left
            for full, run in itertools.groupby(filled):
                length = len(list(run))
                if full:
                    front[colors[name]].append(area(at, 2 * int(row) + half, length, 1))
                at += length
        return ""

    svg = re.sub(BLOCK_TEXT, blocks, svg)
    start = re.search(BACKGROUND, svg)
    assert start is not None
    svg = re.sub(BACKGROUND, background, svg)
    scale = f'transform="translate(0 {TOP}) scale({CELL_WIDTH / 2} {CELL_HEIGHT / 2})" shape-rendering="crispEdges"'
    return svg[: start.start()] + f"<g {scale}>{drawn(behind)}{drawn(front)}</g>" + svg[start.start() :]


def area(left: int, top: int, width: int, height: int) -> str:
    """A rectangle of a path, in halves of cells, so that every number is a small whole one."""
    return f"M{left} {top}h{width}v{height}h-{width}z"


def drawn(paths: dict[str, list[str]]) -> str:
    return "".join(f'<path fill="{color}" d="{"".join(areas)}"/>' for color, areas in paths.items())


def without_home(svg: str) -> str:
    """An exported screen in which the home directory is ~, each text as long as it was."""
    home = str(Path.home())
    return re.sub(
        r">([^<]*)</text>",
        lambda match: ">" + match[1].replace(home, "~").ljust(len(match[1]), "\u00a0") + "</text>",
        svg,
    )


class OwnProcesses(SystemMonitor):
    """Reports no processes but those of this script, with commands that name no folder."""

    def _read_processes(self) -> None:
        super()._read_processes()
        own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        self.processes = [
            dataclasses.replace(process, command=" ".join(map(os.path.basename, (process.command or "").split())))
            for process in self.processes
            if process.pid in own
        ]


async def until(pilot: Pilot[None], condition: Callable[[], bool], what: str) -> None:
    """Let the app run until `condition` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {PATIENCE:.0f} s in vain until {what}")
        await asyncio.sleep(0.05)


async def shoot(pilot: Pilot[None], name: str, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
    """Export the visible screen at each size, dark as NAME-COLUMNSxLINES.svg and light as NAME-light-...."""
    for theme, suffix in ((LIGHT, "-light"), (DARK, "")):
        pilot.app.theme = theme.name
        for columns, lines in sizes:
            await pilot.resize_terminal(columns, lines)
            await pilot.pause(0.5)
            save(pilot, f"{name}{suffix}-{columns}x{lines}.svg")


def screenshot(pilot: Pilot[None]) -> str:
    """The visible screen as an SVG that names no path of this machine."""
    picture = without_home(tidy(pilot.app.export_screenshot(simplify=True)))
    for place in (str(Path.home()), tempfile.gettempdir(), os.getcwd(), "http://", "https://cdn"):
        if place in picture.replace('xmlns="http://www.w3.org/2000/svg"', ""):
            raise SystemExit(f"a screenshot names {place}")
    return picture


def write(name: str, picture: str) -> None:
    (IMAGES / name).write_text(picture, encoding="utf-8")
    print(f"{name:24} {len(picture.encode()) / 1000:6.0f} kB", flush=True)


def save(pilot: Pilot[None], name: str) -> None:
    write(name, screenshot(pilot))


async def add_scene(pilot: Pilot[None], scenes: list[Scene], seconds: float) -> None:
    """Add the visible screen to the animation."""
    if pilot.app.size != SCENE_SIZE:
        await pilot.resize_terminal(*SCENE_SIZE)
        await pilot.pause(1.0)
    await pilot.pause(0.2)
    scenes.append(Scene(screenshot(pilot), seconds))


async def go_to(pilot: Pilot[None], key: str, mode: str) -> None:
    pilot.app.set_focus(None)
    await pilot.press(key)
    await until(pilot, lambda: pilot.app.current_mode == mode, f"{mode} is shown")
    await pilot.pause()


def make_runs(builtin: Path) -> None:
    """Runs in every state: the built-in model's own log, and short trainings of today that ended each in its way."""
    kept = ROOT / "mnist-30"
    shutil.copytree(builtin, kept)
    small = {"dataset": "glyphs", "limit": 512, "batch_size": 64, "device": "cpu", "root": ROOT}
    for _ in train(TrainConfig(**small, name="glyphs-small", channels=(16, 16), epochs=3)):
        pass
    with contextlib.closing(train(TrainConfig(**small, name="glyphs-wide", epochs=4))) as stopped:
        for event in stopped:
            if isinstance(event, Epoch):
                break
    with contextlib.suppress(MinidiffError):
        for _ in train(TrainConfig(**{**small, "dataset": "mnist"}, name="mnist-missing", data_root=Path("nowhere"))):
            pass


async def take(root: Path, denoising_steps: int) -> None:
    """Write every screen at every size, and an animation of some of them."""
    scenes: list[Scene] = []
    app = MinidiffApp(root, settings=Settings(theme=DARK.name))
    async with app.run_test(size=FIRST_SCREEN) as pilot:
        await pilot.press("home")
        header = app.screen.query_one(Header)
        await until(pilot, lambda: "ready" in header.note, "the engine is ready")
        await pilot.press(*["right"] * min(LATE, denoising_steps))
        await pilot.pause(0.5)
        save(pilot, "first-screen.svg")
        await pilot.press("home")
        await add_scene(pilot, scenes, 1.0)
        for _ in range(denoising_steps):
            await pilot.press("right")
            await add_scene(pilot, scenes, 0.3)
        await add_scene(pilot, scenes, 1.7)
        await pilot.press("home", *["right"] * min(LATE, denoising_steps))
        await shoot(pilot, "sample")
        for key, name in (("question_mark", "help"), ("z", "zoom"), ("v", "change")):
            await pilot.press(key)
            await shoot(pilot, name)
            await pilot.press("v" if key == "v" else "escape")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.ready, "both panes are there")
        await pilot.press("home", *["right"] * MIDWAY)
        await shoot(pilot, "compare")
        await pilot.press("c")

        await go_to(pilot, "2", "train")
        await until(pilot, lambda: "field-preset" in (getattr(app.focused, "id", "") or ""), "the form is there")
        app.screen.query_one(RunForm).set_values({"dataset": "sprites"})
        description = app.screen.query_one(DescriptionView)
        await until(pilot, lambda: "about" in str(description.render()), "the run is described")
        await shoot(pilot, "train-form")

        await go_to(pilot, "3", "runs")
        await until(pilot, lambda: bool(app.screen.query_one("RunTable").row_count), "the runs are listed")
        await pilot.press("end", "enter")  # the built-in model's log is the oldest
        await until(pilot, lambda: app.current_mode == "train", "the run is shown")
        await pilot.pause(2.0)
        await shoot(pilot, "train-finished")
        await add_scene(pilot, scenes, 3.0)
        app.screen.query_one(CurvePlot).focus()
        await pilot.press("plus", *["left"] * 20)
        await shoot(pilot, "plot", ((120, 40),))
        await pilot.press("0")

        path = create_run(TrainConfig(dataset="glyphs", limit=1024, epochs=100, name="glyphs-live", root=root))
        trainer = launch(path)
        try:
            await until(pilot, lambda: len(RunHistory.of(path / EVENTS).epochs) >= LIVE_EPOCH, f"epoch {LIVE_EPOCH}")
            await go_to(pilot, "3", "runs")
            await pilot.pause(2.0)
            await pilot.press("home")  # the run heard of last is the first
            await pilot.pause(2.0)
            await shoot(pilot, "runs")
            await pilot.press("enter")
            await until(pilot, lambda: app.current_mode == "train", "the run is shown")
            await pilot.pause(2.0)
            await shoot(pilot, "train")
            await go_to(pilot, "4", "devices")
            await pilot.pause(DEVICE_SECONDS)
            await shoot(pilot, "devices")
            await go_to(pilot, "5", "lab")
            lab = app.screen
            assert isinstance(lab, LabScreen)
            await show_bench(pilot, lab.bench.NAME, until)
            await add_scene(pilot, scenes, 3.0)
            await take_lab(pilot, shoot, until)
            write("app.svg", animated(scenes))
        finally:
            request(path, "stop")
            trainer.wait()
        await go_to(pilot, "3", "runs")
        await take_history(pilot, path.name, shoot, until)
        await take_race(pilot, RACES, shoot, until)


def in_sixteen_greys(denoising: Denoising) -> Denoising:
    """A denoising that takes half the room as a GIF: noise in 256 grays does not compress."""
    nearest = bytes((value + 8) // 17 * 17 for value in range(256))
    frames = (
        dataclasses.replace(
            frame, x=frame.x.translate(nearest), prediction=frame.prediction and frame.prediction.translate(nearest)
        )
        for frame in denoising.frames
    )
    return dataclasses.replace(denoising, frames=tuple(frames))


def write_sprites(path: Path, rows: int = 6, factor: int = 4) -> None:
    """A grid of sprites with a column for each class."""
    images, labels = sprites.draw("test", 600)
    columns = [images[labels == label][:rows] for label in range(labels.max() + 1)]
    tiles = np.stack(columns, axis=1).transpose(0, 1, 3, 4, 2)  # (rows, classes, H, W, 3)
    grid = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)), constant_values=24)
    sheet = Image.fromarray(grid.swapaxes(1, 2).reshape(rows * grid.shape[2], -1, 3))
    sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST).save(path, optimize=True)


def main() -> None:
    """Make all pictures."""
    builtin = builtin_directories().get(BUILTIN[0])
    if builtin is None:
        raise SystemExit("the built-in model is not in this tree")
    IMAGES.mkdir(exist_ok=True)
    denoising = load_recording(builtin / RECORDING)
    write_gif(IMAGES / "denoising.gif", in_sixteen_greys(denoising))
    write_figure(IMAGES / "figure.png", denoising)
    write_sliding(IMAGES / "sliding-kernel.gif")
    write_sprites(IMAGES / "sprites.png")
    for name in ("denoising.gif", "figure.png", "sliding-kernel.gif", "sprites.png"):
        print(f"{name:24} {(IMAGES / name).stat().st_size / 1000:6.0f} kB", flush=True)
    DevicePanel.monitor = OwnProcesses()
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        make_runs(builtin)
        make_race(RACES)
        asyncio.run(take(ROOT, denoising.steps))


if __name__ == "__main__":
    main()
