"""The fields of the Lab that its benches share: the image and the model that they work on."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widgets import Input

from core.config.datasets import CHARACTERS
from core.engine.protocol import TEST_IMAGES, DatasetImage, DrawnImage
from core.errors import MinidiffError
from core.runs.directory import builtin_directories
from tui.io.run_list import list_runs
from tui.lab.fields import FieldRow, choice, entry
from tui.lab.lab_input import LabInput
from tui.widgets.sampling_controls import config_of

if TYPE_CHECKING:
    from core.config.training import TrainConfig

DIGITS = ("mnist", "glyphs")  # for models of 28x28 gray images, besides their own dataset; glyphs is always available
DIGIT_SHAPE = (1, 28, 28)
CHANNELS = ("luminance", "red", "green", "blue")  # to choose from for RGB images
DRAWN = f"[0-9a-f]{{{2 * math.prod(DIGIT_SHAPE)}}}"  # the pixels of a drawn image, in hexadecimal


class SubjectFields(FieldRow):
    """An image, a model, and the channel of RGB images.

    Attributes:
        drawing: A drawn image, in place of a test image.
    """

    def __init__(self, root: Path) -> None:
        models = list(builtin_directories())
        image, model = entry("image-index", "0", width=6), choice("model", models, models[0], width=24)
        model.styles.width, model.styles.max_width = "1fr", 24
        channel = choice("channel", CHANNELS, CHANNELS[0], width=14)
        super().__init__(("image", image), ("model", model), ("channel", channel), id="subject")
        self._root = root
        self._image, self._model, self._channel = image, model, channel
        self.drawing: DrawnImage | None = None
        self._config: tuple[str, TrainConfig] | None = None  # the model that was read, and its config
        self._missing: set[str] = set()  # datasets that are not on this machine

    # The model

    @property
    def config(self) -> TrainConfig | None:
        """The config of the model that was read last."""
        return None if self._config is None else self._config[1]

    @property
    def is_read(self) -> bool:
        """Whether `config` is that of the chosen model."""
        return self._config is not None and self._config[0] == self._model.chosen

    async def read_config(self) -> bool:
        """Read the chosen model's config; returns whether that model is still chosen.

        Raises:
            MinidiffError: It cannot be read.
        """
        model = self._model.chosen
        config = await asyncio.to_thread(config_of, model, self._root)
        if self._model.chosen != model:
            return False  # another was chosen in the meantime, and is read now
        self._config = model, config
        return True

    async def update_models(self) -> None:
        """Update the list of models."""
        try:
            runs = await asyncio.to_thread(list_runs, self._root)
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
            runs = []
        names = list(dict.fromkeys([*builtin_directories(), *(run.name for run in runs if run.sampleable)]))
        self._model.set_values(names, self._model.chosen if self._model.chosen in names else names[0])

    async def choose_model(self, name: str) -> None:
        """Choose a model.

        Raises:
            MinidiffError: There is no such model.
        """
        if name not in self._model.values:
            await self.update_models()
        if name not in self._model.values:
            raise MinidiffError(f"there is no model {name} with weights here")
        self._model.value = name

    @property
    def model_classes(self) -> Sequence[str]:
        """The names of the model's classes."""
        return () if self.config is None else self.config.info.class_names

    # The image

    def read(self, *, check_image: bool) -> LabInput:
        """What the fields describe.

        Raises:
            MinidiffError: `check_image` is true, and the image field does not hold the index of a test image.
        """
        text = self._image.value.strip()
        if check_image and self.drawing is None and not (text.isdecimal() and int(text) < TEST_IMAGES):
            raise MinidiffError(
                f"image takes the index of a test image, 0 to {TEST_IMAGES - 1}, not {text or 'nothing'}"
            )
        shape, null_class = DIGIT_SHAPE, 10
        if self.config is not None:
            shape, null_class = self.config.info.shape, self.config.info.null_class
        if check_image and self.drawing is not None and shape != DIGIT_SHAPE:
            raise MinidiffError(self.drawing_problem)
        chosen = CHANNELS.index(self._channel.chosen)
        return LabInput(
            self.dataset,
            int(text) if text.isdecimal() else 0,
            self._model.chosen,
            drawing=self.drawing,
            shape=shape,
            null_class=null_class,
            digits=self.digits,
            channel=chosen - 1 if chosen and shape[0] > 1 else None,
        )

    @property
    def dataset(self) -> str:
        """The first dataset that may be on this machine: the model's own, or digits if they have its shape."""
        if self.config is None:
            return DIGITS[0]
        own = str(self.config.dataset)
        names = [own]
        if self.config.info.shape == DIGIT_SHAPE:
            names = [*(names if own != "auto" else []), *DIGITS]
        return self._available(names)

    @property
    def digits(self) -> str:
        """The first dataset of digits that may be on this machine."""
        return self._available(DIGITS)

    def _available(self, names: Sequence[str]) -> str:
        return next((name for name in names if name not in self._missing), names[-1])

    def found_missing(self, notice: str) -> bool:
        """Whether an error says that a dataset is not on this machine, and another one takes its place from now on."""
        before = self.dataset, self.digits
        if "not on this machine" in notice:
            self._missing.update(name for name in before if name in notice)
        return (self.dataset, self.digits) != before

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the image's classes."""
        from core.config.datasets import INFO  # imports pydantic, which the first screen does not need

        if self.drawing is not None or (self.config is not None and self.dataset == self.config.dataset):
            return self.model_classes
        return INFO[self.dataset].class_names if self.dataset in INFO else ()

    @property
    def has_characters(self) -> bool:
        """Whether the image shows characters."""
        return self.drawing is not None or self.dataset in CHARACTERS

    def choose_another(self) -> None:
        """Choose a random test image other than the current one."""
        text = self._image.value.strip()
        current = int(text) if text.isdecimal() else 0
        self._image.value = str((current + random.randrange(1, TEST_IMAGES)) % TEST_IMAGES)

    def use_drawing(self, drawing: DrawnImage) -> None:
        """Use a drawn image, without posting `Changed`."""
        self.drawing = drawing
        with self._image.prevent(Input.Changed):
            self._image.value = ""

    def set_image(self, image: DatasetImage | DrawnImage) -> None:
        """Use the image of a request.

        Raises:
            MinidiffError: It is a drawing of another size.
        """
        self.drawing = None
        if isinstance(image, DatasetImage):
            self._image.value = str(image.index)
        elif not re.fullmatch(DRAWN, image.pixels):
            raise MinidiffError("the drawn image is not one of 28x28 pixels")
        else:
            self._image.value, self.drawing = "", image

    @property
    def drawing_problem(self) -> str:
        """Why the model cannot take a drawn digit; empty if it can."""
        if self.config is None or self.config.info.shape == DIGIT_SHAPE:
            return ""
        channels, height, width = self.config.info.shape
        kind, model = "RGB" if channels > 1 else "gray", self._model.chosen
        return (
            f"a drawn digit is 28x28 and gray, but {model} takes {height}x{width} {kind} images; "
            "choose a test image (n)"
        )

    # The channel

    def set_channel(self, channel: int | None) -> None:
        """Choose a channel, or the luminance."""
        self._channel.value = CHANNELS[(0 if channel is None else channel + 1) % len(CHANNELS)]

    def show_channel(self, *, visible: bool) -> None:
        """Show the field for the channel if there are several and `visible` is true."""
        several = self.config is not None and self.config.info.channels > 1
        for widget in self.children[-2:]:  # the field and its label
            widget.display = visible and several
