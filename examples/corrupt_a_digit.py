"""Corrupts a digit at several noise levels, and denoises it in one step and in eight sampling steps."""

from torch import Tensor

from core import corruption_sweep, load_dataset, load_model
from core.lab import SweepPoint


def half_blocks(image: Tensor) -> list[str]:
    """Render two rows of pixels per line as full, upper, lower or no block; pixels above 0.5 are set."""
    rows = (image > 0.5).tolist()
    return [
        "".join(" ▄▀█"[2 * a + b] for a, b in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]


def show(point: SweepPoint) -> None:
    """Print the noisy digit, the prediction and the sample side by side."""
    images = [image for image in (point.x, point.prediction, point.sampled) if image is not None]
    print(f"\nt = {point.t:.1f}: noisy digit, prediction in one step, sample after eight steps")
    print("\n".join(" │ ".join(lines) for lines in zip(*(half_blocks(image[0]) for image in images), strict=True)))


model = load_model("default-mnist", device="cpu")
digits = load_dataset("glyphs", split="test", limit=8)
digit, label = digits.images[3] / 255, int(digits.labels[3])
points = list(corruption_sweep(model, digit, [i / 10 for i in range(11)], label=label, steps=8))
print(f"a drawn {label}\n     t   alpha   sigma       one step      8 steps   (mean squared error)")
for point in points:
    print(f"{point.t:6.1f}{point.alpha:8.2f}{point.sigma:8.2f}{point.error:15.4f}{point.sampled_error:15.4f}")
for point in (points[3], points[8]):
    show(point)
