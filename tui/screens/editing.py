"""Base class of the Sample screen: chooses what samples start from."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

from core.engine.protocol import DrawnImage, Interpolation, Start
from tui.screens.draw import MaskScreen, SketchScreen
from tui.screens.trajectory import TrajectoryScreen
from tui.widgets.dialogs import NOISE_LEVEL, InterpolationDialog, StartDialog
from tui.widgets.sampling_controls import SamplingControls


class EditingScreen(TrajectoryScreen):
    """A screen with `SamplingControls`, whose samples start from noise, an image or between two.

    Attributes:
        start: What the next trajectory starts from; None for noise.
        start_image: The first image that the trajectory shown started from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start: Start | Interpolation | None = None
        self.start_image: bytes | None = None

    @property
    def bar(self) -> SamplingControls:
        """The sampling controls."""
        return self.query_one(SamplingControls)

    async def action_sample(self) -> None:
        """Sample with the current values of the controls."""
        raise NotImplementedError

    async def _update_controls(self) -> None:
        """Enable the options that the chosen model supports."""
        raise NotImplementedError

    async def action_start(self) -> None:
        """Choose between pure noise and an image with added noise."""
        start = self.start if isinstance(self.start, Start) else None
        await self.app.push_screen(StartDialog(start), self._choose_start)

    async def action_interpolate(self) -> None:
        """Choose the ends of an interpolation."""
        ends = self.start
        if not isinstance(ends, Interpolation):
            seed = int(self.bar.seed) if self.bar.seed.isdecimal() else 0
            ends = Interpolation(seed, seed + 1)
        await self.app.push_screen(InterpolationDialog(ends), self._choose_start)

    async def _choose_start(self, start: Start | Interpolation | Literal["noise"] | None) -> None:
        if start is not None:
            self.start = None if start == "noise" else start
            await self.action_sample()

    async def action_draw(self) -> None:
        """Draw an image to start from, or edit the one that was drawn."""
        await self._update_controls()
        shape = self.bar.image_shape
        if shape is None:
            self.notify("the model's images are not known yet; try again after the first sample", severity="error")
            return
        start, drawing, level = self.start, None, NOISE_LEVEL
        if isinstance(start, Start) and start.mask is None:
            level = start.t
            if isinstance(start.image, DrawnImage) and len(start.image.pixels) == 2 * shape[0] * shape[1]:
                drawing = start.image
        self.timeline.pause()
        characters = self.visible_trajectory is None or self.visible_trajectory.characters
        sketch = SketchScreen(drawing, shape, self.app.size, self.bar.class_names, characters=characters)
        await self.app.push_screen(sketch, partial(self._start_from_drawing, level))

    async def _start_from_drawing(self, t: float, drawing: DrawnImage | None) -> None:
        if drawing is not None:
            await self._choose_start(Start(drawing, t))

    async def action_mask(self) -> None:
        """Draw over the start image."""
        start, image, denoising = self.start, self.start_image, self.visible_trajectory
        if not isinstance(start, Start) or image is None or denoising is None:
            self.notify("choose or draw an image to start from first (t or w), then draw over it", severity="error")
            return
        self.timeline.pause()
        shape = denoising.height, denoising.width, denoising.channels
        mask = MaskScreen(image, shape, start.mask or (), self.app.size, characters=denoising.characters)
        await self.app.push_screen(mask, partial(self._inpaint, start))

    async def _inpaint(self, start: Start, mask: tuple[str, ...] | None) -> None:
        if mask is None:
            return
        if bool(mask) != bool(start.mask):  # the masked part is generated from noise only, an image is not
            start = dataclasses.replace(start, t=1.0 if mask else NOISE_LEVEL)
        await self._choose_start(dataclasses.replace(start, mask=mask or None))
