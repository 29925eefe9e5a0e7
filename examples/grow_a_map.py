"""Upsamples a map with a transposed convolution: overlaps, checkerboard artifacts, and how to avoid them."""

import torch

from core import transposed_convolve_steps
from core.convolution import grown_formula, named_kernel
from core.lab import overlap_counts, upsample_convolve

small, kernel = torch.ones(4, 4), named_kernel("box blur", 3)
print("4x4 ones, stride 2: the output size is", grown_formula(4, 3, stride=2))
steps = list(transposed_convolve_steps(small, kernel, stride=2))
for step in (steps[0], steps[1], steps[5]):
    print(f"\nafter the input value at {step.position}, added at {step.origin}: contributions to each pixel")
    for row in step.overlaps.tolist():
        print(" ", *(f"{count or '·'}" for count in row))
print("\nthe output, times 9: a constant input gives a checkerboard")
for row in (steps[-1].output * 9).round().long().tolist():
    print(" ", *row)
print("\na kernel size of 4, a multiple of the stride, overlaps evenly except at the edge:")
for row in overlap_counts((4, 4), (4, 4), stride=2).tolist():
    print(" ", *row)
print("\nupsampling and convolution, times 9: even except at the edge")
for row in (upsample_convolve(small, kernel, scale=2) * 9).round().long().tolist():
    print(" ", *row)
