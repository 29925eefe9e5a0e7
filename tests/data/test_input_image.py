"""Image files and masks, converted to a model's channels and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.data.input_image import read_image, read_mask
from core.errors import DatasetError

GREY, RGB = (1, 8, 8), (3, 8, 8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "CMYK"])
@pytest.mark.parametrize("shape", [GREY, RGB])
def test_every_mode_is_converted_to_the_models_channels(tmp_path: Path, mode: str, shape: tuple[int, int, int]) -> None:
    white = Image.new("RGB", (8, 8), "white").convert(mode)
    image = read_image(saved(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"), white), shape)
    assert (image.shape, image.dtype) == ((1, *shape), torch.float32)
    torch.testing.assert_close(image, torch.ones_like(image), atol=0.01, rtol=0)


def test_colours_keep_their_channels(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path / "a.png", Image.new("RGB", (8, 8), (255, 102, 0))), RGB)
    torch.testing.assert_close(image[0, :, 3, 3], torch.tensor([1.0, 0.4, 0.0]))


def test_transparency_is_put_over_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    torch.testing.assert_close(
        read_image(saved(tmp_path / "a.png", half), GREY), torch.full((1, 1, 8, 8), 127 / 255), atol=0.01, rtol=0
    )


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16))
    assert read_image(saved(tmp_path / "a.png", deep), GREY).mean().item() == pytest.approx(0.5, abs=0.01)


def test_exif_rotation_is_applied_and_the_first_frame_is_read(tmp_path: Path) -> None:
    top = Image.new("L", (8, 8))
    top.paste(255, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = read_image(saved(tmp_path / "a.jpg", top, exif=exif, quality=95), GREY)
    assert turned[0, 0, 6].mean() > 0.9
    assert turned[0, 0, 1].mean() < 0.1
    animated = saved(tmp_path / "a.gif", top, save_all=True, append_images=[Image.new("L", (8, 8))])
    assert read_image(animated, GREY)[0, 0, 1].mean() > 0.9


def test_the_centre_is_cropped_and_resized_for_image_and_mask_alike(tmp_path: Path) -> None:
    wide = Image.new("L", (64, 32))
    wide.paste(255, (32, 0, 64, 32))  # the right half, of which the crop keeps 16 of 32 columns
    path = saved(tmp_path / "a.png", wide)
    image, mask = read_image(path, GREY), read_mask(path, GREY)
    assert (mask.shape, mask.dtype) == ((1, 1, 8, 8), torch.bool)
    assert torch.equal(image > 0.5, mask)
    assert torch.equal(mask[0, 0, 0], torch.tensor([False] * 4 + [True] * 4))


def test_a_picture_with_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", Image.new("L", (64, 64)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow raises above twice the limit
    with pytest.raises(DatasetError, match="exceeds limit"):
        read_image(path, GREY)
