"""Looks inside a trained net: its layers, its liveliest maps, what one pixel sees, and what the skips are for."""

from core import corruption_sweep, feature_maps, layer_table, load_dataset, load_model, receptive_field
from core.lab import without_skips

model = load_model("quick-mnist", device="cpu")
digit = load_dataset("glyphs", split="test", limit=1).images / 255  # (1, 1, 28, 28)

print(f"{'layer':<12}{'kind':<12}{'output':>14}{'weights':>10}{'operations':>13}")
for row in layer_table(model.net):
    shape = "×".join(map(str, row.shape)) if row.shape else ""
    name = "  " * row.depth + (row.name or "the net")
    print(f"{name:<12}{row.kind:<12}{shape:>14}{row.parameters:>10,}{row.operations:>13,}")

print("\nthe map of each layer that varies most:")
for name, maps in feature_maps(model.net, digit).items():
    spread = maps[0].std(dim=(1, 2))  # (channels,)
    print(f"  {name}: channel {int(spread.argmax())} of {len(spread)}, standard deviation {spread.max():.2f}")

field = receptive_field(model.net, digit, (14, 14))
print("\nwhat the pixel in the middle of the answer sees, in percent of the most, every other row and column:")
for line in (field[::2, ::2] / field.max() * 100).round().long().tolist():
    print(" ", *(f"{value or '·':>3}" for value in line))

print("\nmean squared error of what the net sees, with its skips and without:")
whole = list(corruption_sweep(model, digit[0], (0.2, 0.5, 0.8)))
with without_skips(model.net):
    cut = list(corruption_sweep(model, digit[0], (0.2, 0.5, 0.8)))
for point, other in zip(whole, cut, strict=True):
    print(f"  {point.t:.0%} noise: {point.error:.4f} with, {other.error:.4f} without")
