"""Corrupts a drawn digit more and more, and shows what a net sees in it at once and after a walk of eight steps."""

from torch import Tensor

from core import corruption_sweep, load_dataset, load_model
from core.lab import SweepPoint


def half_blocks(picture: Tensor) -> list[str]:
    """Two rows of pixels in a line of characters: full, upper, lower or no block where they are above one half."""
    rows = (picture > 0.5).tolist()
    return [
        "".join(" ▄▀█"[2 * a + b] for a, b in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]


def shown(point: SweepPoint) -> None:
    """The noisy digit, what the net sees in it, and what it walks to, side by side."""
    pictures = [image for image in (point.x, point.prediction, point.sampled) if image is not None]
    print(f"\n{point.t:.0%} noise: the digit, what the net sees in it, and where eight steps lead")
    print("\n".join(" │ ".join(lines) for lines in zip(*(half_blocks(image[0]) for image in pictures), strict=True)))


model = load_model("default-mnist", device="cpu")
digits = load_dataset("glyphs", split="test", limit=8)
digit, label = digits.images[3] / 255, int(digits.labels[3])
points = list(corruption_sweep(model, digit, [i / 10 for i in range(11)], label=label, steps=8))
print(f"a drawn {label}\namount   image   noise   seen at once   after a walk   (mean squared error)")
for point in points:
    print(f"{point.t:6.0%}{point.alpha:8.2f}{point.sigma:8.2f}{point.error:15.4f}{point.sampled_error:15.4f}")
for point in (points[3], points[8]):
    shown(point)
