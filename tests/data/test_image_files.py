"""Image files of every mode become gray or RGB arrays on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.image_files import READ_ERRORS, Header, Target, decode, read_header

GREY, COLOR = Target(1, 4, 6, "crop"), Target(3, 4, 6, "crop")
RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
RGB = np.stack([RAMP, 255 - RAMP, np.full_like(RAMP, 77)], axis=-1)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_grey_and_colour_images_keep_their_values(tmp_path: Path) -> None:
    grey, color = saved(tmp_path / "g.png", Image.fromarray(RAMP)), saved(tmp_path / "c.png", Image.fromarray(RGB))
    assert np.array_equal(decode(grey, GREY), RAMP[None])
    assert np.array_equal(decode(grey, COLOR), np.stack([RAMP] * 3))  # not one channel beside two empty ones
    assert np.array_equal(decode(color, COLOR), RGB.transpose(2, 0, 1))
    assert read_header(grey) == Header(4, 6, grey=True)
    assert read_header(color) == Header(4, 6, grey=False)


def test_16_bit_images_are_scaled_not_clipped(tmp_path: Path) -> None:
    values = (RAMP.astype(np.uint16) * 257).astype(np.uint16)
    path = saved(tmp_path / "deep.png", Image.fromarray(values))
    assert np.array_equal(decode(path, GREY), RAMP[None])
    assert read_header(path).grey
    path = saved(tmp_path / "deep.tiff", Image.fromarray(values))
    assert np.array_equal(decode(path, GREY), RAMP[None])


def test_transparent_pixels_are_placed_on_white(tmp_path: Path) -> None:
    alpha = np.where(np.arange(6) < 3, 255, 0).astype(np.uint8) * np.ones((4, 1), np.uint8)
    rgba = Image.fromarray(np.concatenate([RGB, alpha[..., None]], axis=-1))
    found = decode(saved(tmp_path / "a.png", rgba), COLOR)
    assert np.array_equal(found[:, :, :3], RGB.transpose(2, 0, 1)[:, :, :3])
    assert (found[:, :, 3:] == 255).all()
    la = Image.merge("LA", (Image.fromarray(RAMP), Image.fromarray(alpha)))
    found = decode(saved(tmp_path / "la.png", la), GREY)
    assert np.array_equal(found[0, :, :3], RAMP[:, :3])
    assert (found[0, :, 3:] == 255).all()


def test_palette_images_are_looked_up_and_their_transparent_colour_is_white(tmp_path: Path) -> None:
    image = Image.fromarray((np.arange(24) % 3).astype(np.uint8).reshape(4, 6), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 9, 9, 9])
    found = decode(saved(tmp_path / "p.png", image), COLOR)
    assert found[:, 0, :3].T.tolist() == [[255, 0, 0], [0, 255, 0], [9, 9, 9]]
    assert not read_header(tmp_path / "p.png").grey
    found = decode(saved(tmp_path / "t.png", image, transparency=1), COLOR)
    assert found[:, 0, :3].T.tolist() == [[255, 0, 0], [255, 255, 255], [9, 9, 9]]
    image.putpalette([0, 0, 0, 128, 128, 128, 255, 255, 255])
    assert read_header(saved(tmp_path / "grey.gif", image)).grey


def test_black_and_white_images_use_the_whole_range(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP > 100)
    assert set(np.unique(decode(saved(tmp_path / "1.png", image), GREY))) == {0, 255}


def test_cmyk_images_become_rgb(tmp_path: Path) -> None:
    path = saved(tmp_path / "cmyk.jpg", Image.new("CMYK", (6, 4), (0, 255, 255, 0)), quality=100)
    red, green, blue = decode(path, COLOR)[:, 2, 2]
    assert (red > 200, green < 60, blue < 60) == (True, True, True)


def test_exif_rotation_is_applied_to_pixels_and_size(tmp_path: Path) -> None:
    image = Image.fromarray(RGB.repeat(8, 0).repeat(8, 1))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    path = saved(tmp_path / "turned.jpg", image, exif=exif, quality=100, subsampling=0)
    assert read_header(path) == Header(48, 32, grey=False)
    found = decode(path, Target(3, 48, 32, "crop"))
    expected = np.asarray(image.rotate(-90, expand=True)).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - expected).mean() < 4  # JPEG


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animations_give_their_first_frame(tmp_path: Path, suffix: str) -> None:
    first, second = Image.new("RGB", (6, 4), "red"), Image.new("RGB", (6, 4), "blue")
    path = saved(tmp_path / f"moving.{suffix}", first, save_all=True, append_images=[second], duration=50)
    assert decode(path, COLOR)[:, 2, 3].tolist()[0] > 200


@pytest.mark.parametrize(
    ("resize", "corner", "middle"),
    [("crop", (255, 0, 0), (255, 0, 0)), ("pad", (0, 0, 0), (255, 0, 0)), ("stretch", (255, 0, 0), (255, 0, 0))],
)
def test_another_size_is_cropped_padded_or_stretched(
    tmp_path: Path, resize: str, corner: tuple[int, int, int], middle: tuple[int, int, int]
) -> None:
    path = saved(tmp_path / "wide.png", Image.new("RGB", (40, 20), "red"))
    found = decode(path, Target(3, 16, 16, resize))
    assert found.shape == (3, 16, 16)
    assert tuple(found[:, 0, 0]) == corner
    assert tuple(found[:, 8, 8]) == middle


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_damaged_file_raises_a_read_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(READ_ERRORS):
        decode(path, GREY)


@pytest.mark.filterwarnings("ignore")  # of Pillow, about odd metadata
def test_any_damage_raises_nothing_but_a_read_error(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for suffix in ("png", "jpg", "gif", "webp", "tiff", "bmp", "ppm"):
        path = saved(tmp_path / f"x.{suffix}", Image.fromarray(RGB.repeat(8, 0).repeat(8, 1)))
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole[: random.integers(1, len(whole) + 1)])
            for position in random.integers(0, len(content), 4):
                content[position] = random.integers(256)
            path.write_bytes(content)
            try:
                read_header(path)
                assert decode(path, COLOR).shape == (3, 4, 6)
            except READ_ERRORS:
                pass


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "f.tiff", Image.fromarray(RAMP.astype(np.float32)))
    with pytest.raises(ValueError, match="floating-point"):
        decode(path, GREY)
