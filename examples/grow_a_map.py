"""Grows a small map with a transposed convolution: where kernels overlap, the checkerboard, and a way without it."""

import torch

from core import transposed_convolve_steps
from core.convolution import grown_formula, named_kernel
from core.lab import overlap_counts, upsample_convolve

small, kernel = torch.ones(4, 4), named_kernel("box blur", 3)
print("4 by 4 ones, spread with stride 2: the side is", grown_formula(4, 3, stride=2))
steps = list(transposed_convolve_steps(small, kernel, stride=2))
for step in (steps[0], steps[1], steps[5]):
    print(f"\nafter the value at {step.position}, which lands at {step.origin}: kernels that reached each pixel")
    for row in step.overlaps.tolist():
        print(" ", *(f"{count or '·'}" for count in row))
print("\nall 16 spread, times 9: an even surface has become a checkerboard")
for row in (steps[-1].output * 9).round().long().tolist():
    print(" ", *row)
print("\na kernel of 4, which the stride divides, overlaps evenly but for the edge:")
for row in overlap_counts((4, 4), (4, 4), stride=2).tolist():
    print(" ", *row)
print("\npixels repeated and then convolved, times 9: even but for the edge")
for row in (upsample_convolve(small, kernel, scale=2) * 9).round().long().tolist():
    print(" ", *row)
