"""Convolves a digit with a kernel: one window with its products, then the output as characters."""

import sys

from torch import Tensor

from core import convolve_steps, load_dataset
from core.convolution import Geometry, kernel_text, named_kernel, output_formula, parse_kernel


def shades(image: Tensor) -> list[str]:
    """Render each row as characters, from blank for the minimum to @ for the maximum."""
    scaled = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-9)
    return ["".join(" .:-=+*#%@"[int(value * 9.999)] * 2 for value in row) for row in scaled.tolist()]


digit = load_dataset("glyphs", split="test", limit=1).images[0, 0] / 255  # (28, 28)
kernel = parse_kernel(sys.argv[1]) if sys.argv[1:] else named_kernel("sobel x")
geometry = Geometry(stride=2, padding=1)
steps = list(convolve_steps(digit, kernel, geometry))
step = max(steps, key=lambda step: abs(step.total))
print("kernel", kernel_text(kernel))
print("size  ", output_formula(28, len(kernel), geometry))
print(f"\nat row {step.position[0]}, column {step.position[1]}: window times kernel")
for window, weights, products in zip(step.window.tolist(), kernel, step.products.tolist(), strict=True):
    print(
        *(f"{a:5.2f}" for a in window), "  ×", *(f"{b:5.2f}" for b in weights), "  =", *(f"{c:5.2f}" for c in products)
    )
print(f"sum: {step.total:.3f}\n\noutput, from blank for the minimum to @ for the maximum:")
print("\n".join(shades(steps[-1].output)))
