"""Corrupts digits at several noise levels, and measures the error of one prediction and of sampling."""

import torch

from core import corrupt, load_dataset, load_model, sample

model = load_model("quick-mnist", device="cpu")
digits = load_dataset("glyphs", split="test", limit=32).images / 255  # (32, 1, 28, 28)
print("     t    noisy  one step  24 steps   (mean squared error)")
for t in (0.2, 0.4, 0.6, 0.8):
    noise = torch.rand(digits.shape, generator=torch.Generator().manual_seed(0))
    start = corrupt(digits, torch.full((32,), t), noise)
    _, *records = sample(model, steps=24, start=start, start_t=t)
    errors = [float((x - digits).square().mean()) for x in (start, records[0].prediction, records[-1].x)]
    print(f"{t:6.1f}" + "".join(f"{error:9.4f}" for error in errors))
