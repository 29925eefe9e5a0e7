"""The Lab's pictures for `make_pictures.py`: its benches, and a kernel that slides over a digit as a GIF."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from textual.pilot import Pilot

from core import convolve_steps, load_dataset
from core.convolution import Geometry, Kernel, named_kernel
from tui.lab.bench import Bench
from tui.lab.plane import PlaneBench
from tui.screens.lab import LabScreen

SIZES = ((80, 24), (120, 40))
WALKS_SECONDS = 8.0  # that the walks of the corruption bench take
PLANE_PART = 0.7  # of the trajectory, at which both noise and data can be seen
DIGIT = 3  # of the drawn digits' test split
SCALE, MARGIN, GAP = 7, 14, 96  # of the GIF, in pixels: of an image's pixel, around the images, and between them
FRAME_MS, END_MS = 60, 2_000
PAPER, INK, LIT, QUIET = (18, 18, 18), (230, 230, 230), (255, 175, 95), (120, 120, 120)

Shoot = Callable[[Pilot[None], str, tuple[tuple[int, int], ...]], Awaitable[None]]
Until = Callable[[Pilot[None], Callable[[], bool], str], Awaitable[None]]


async def show_bench(pilot: Pilot[None], name: str, until: Until) -> None:
    """Show a bench with its whole answer; the 2-D bench midway from noise to data."""
    screen = pilot.app.screen
    assert isinstance(screen, LabScreen)
    screen.open(name)
    await until(pilot, lambda: screen.is_idle and screen.bench.shown is not None, f"{name} is shown")
    if isinstance(screen.bench, PlaneBench):
        await until(pilot, lambda: screen.bench.is_trained, "the network is trained")
    await pilot.pause(WALKS_SECONDS)
    if isinstance(screen.bench, PlaneBench):
        screen.timeline.seek(round(PLANE_PART * screen.timeline.steps))
        await pilot.pause()


async def take_lab(pilot: Pilot[None], shoot: Shoot, until: Until) -> None:
    """Each bench, once it has answered."""
    screen = pilot.app.screen
    assert isinstance(screen, LabScreen)
    for bench in screen.query(Bench):
        await show_bench(pilot, bench.NAME, until)
        await shoot(pilot, f"lab-{bench.NAME}", SIZES)


def write_sliding(path: Path) -> None:
    """A Sobel kernel in steps of two pixels over a digit, and the map as it fills."""
    digit = load_dataset("glyphs", split="test", limit=DIGIT + 1).images[DIGIT, 0] / 255
    kernel = named_kernel("sobel x")
    geometry = Geometry(stride=2, padding=1)
    steps = list(convolve_steps(digit, kernel, geometry))
    image = _picture([[round(255 * value) for value in row] for row in digit.tolist()], SCALE)
    strongest = float(steps[-1].output.abs().max())
    frames = []
    for step in steps:
        rows = [[_grey(value / strongest) for value in row] for row in step.output.tolist()]
        frames.append(_frame(image, step.origin, kernel, step.products.tolist(), step.total, _picture(rows, 2 * SCALE)))
    colors = frames[-1].quantize(64)
    frames = [frame.quantize(palette=colors, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(frames) - 1) + [END_MS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def _grey(share: float) -> int:
    """From -1, black, to 1, white; what is not known yet is the paper."""
    return PAPER[0] if math.isnan(share) else round(127.5 + 127.5 * share)


def _picture(rows: list[list[int]], scale: int) -> Image.Image:
    small = Image.frombytes("L", (len(rows[0]), len(rows)), bytes(value for row in rows for value in row))
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST).convert("RGB")


def _frame(
    image: Image.Image,
    origin: tuple[int, int],
    kernel: Kernel,
    products: list[list[float]],
    total: float,
    filled: Image.Image,
) -> Image.Image:
    frame = Image.new("RGB", (2 * MARGIN + image.width + GAP + filled.width, 2 * MARGIN + image.height), PAPER)
    draw, font = ImageDraw.Draw(frame), ImageFont.load_default(12)
    frame.paste(image, (MARGIN, MARGIN))
    frame.paste(filled, (MARGIN + image.width + GAP, MARGIN))
    top, left = (MARGIN + (at - 1) * SCALE for at in origin)  # the padding lies outside the picture
    draw.rectangle((left, top, left + len(kernel[0]) * SCALE - 1, top + len(kernel) * SCALE - 1), outline=LIT, width=2)
    middle = MARGIN + image.width + GAP // 2
    for number, (row, terms) in enumerate(zip(kernel, products, strict=True)):
        for column, (weight, term) in enumerate(zip(row, terms, strict=True)):
            x = middle + (column - 1) * 28
            draw.text((x, MARGIN + 24 + 18 * number), f"{weight:g}", fill=QUIET, font=font, anchor="mm")
            draw.text((x, MARGIN + 100 + 18 * number), f"{round(term, 1) + 0:.1f}", fill=INK, font=font, anchor="mm")
    draw.text((middle, MARGIN + 166), f"sum {round(total, 2) + 0:.2f}", fill=LIT, font=font, anchor="mm")
    return frame


if __name__ == "__main__":
    write_sliding(Path(__file__).resolve().parent / "images" / "sliding-kernel.gif")
