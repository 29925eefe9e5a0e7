"""What the benches of the Lab work on: an image and a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from core.engine.protocol import DatasetImage, DrawnImage


class SharedFields(TypedDict):
    """The fields of a `LabRequest` that are the same for every bench."""

    image: DatasetImage | DrawnImage
    model: str
    seed: int


@dataclass(frozen=True)
class LabInput:
    """What every bench works on: an image, a model, and the seed of the noise."""

    dataset: str
    index: int
    model: str
    seed: int = 0
    drawing: DrawnImage | None = None  # in place of the dataset's image
    shape: tuple[int, int, int] = (1, 28, 28)  # of the model's images: channels, height, width
    null_class: int = 10
    digits: str = "mnist"  # a dataset of digits that may be on this machine
    channel: int | None = None  # of an RGB image, for the benches that take one; None: its luminance

    @property
    def fields(self) -> SharedFields:
        """As fields of a request."""
        return {"image": self.drawing or DatasetImage(self.dataset, self.index), "model": self.model, "seed": self.seed}

    @property
    def script(self) -> list[str]:
        """Lines of Python that define `image`, (H, W) in [0, 1], and for RGB also `pixels`, (3, H, W)."""
        gray = "luminance(pixels)" if self.channel is None else f"pixels[{self.channel}]"
        if self.drawing is not None:
            return [
                "import torch",
                "",
                f'drawn = bytearray.fromhex("{self.drawing.pixels}")',
                "image = torch.frombuffer(drawn, dtype=torch.uint8).reshape(28, 28) / 255",
            ]
        return [
            "from core import load_dataset",
            *(["from core.lab import luminance"] if self.shape[0] > 1 and self.channel is None else []),
            "",
            f'images = load_dataset({self.dataset!r}, split="test", limit={self.index + 1})',
            *(
                [f"pixels = images.images[{self.index}] / 255", f"image = {gray}"]
                if self.shape[0] > 1
                else [f"image = images.images[{self.index}, 0] / 255"]
            ),
        ]

    @property
    def model_image(self) -> str:
        """Python for the image as the model takes it, (C, H, W)."""
        return "pixels" if self.shape[0] > 1 else "image[None]"
