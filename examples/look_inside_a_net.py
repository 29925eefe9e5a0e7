"""Inspects a trained network: layers, feature maps, a receptive field, and the effect of skip connections."""

from core import corruption_sweep, feature_maps, layer_table, load_dataset, load_model, receptive_field
from core.lab import without_skips

model = load_model("quick-mnist", device="cpu")
digit = load_dataset("glyphs", split="test", limit=1).images / 255  # (1, 1, 28, 28)

print(f"{'layer':<12}{'kind':<12}{'output':>14}{'weights':>10}{'operations':>13}")
for row in layer_table(model.net):
    shape = "×".join(map(str, row.shape)) if row.shape else ""
    name = "  " * row.depth + (row.name or "network")
    print(f"{name:<12}{row.kind:<12}{shape:>14}{row.parameters:>10,}{row.operations:>13,}")

print("\nchannel with the largest standard deviation in each layer:")
for name, maps in feature_maps(model.net, digit).items():
    spread = maps[0].std(dim=(1, 2))  # (channels,)
    print(f"  {name}: channel {int(spread.argmax())} of {len(spread)}, standard deviation {spread.max():.2f}")

field = receptive_field(model.net, digit, (14, 14))
print("\nreceptive field of the output pixel in the middle, in percent of its maximum, every other row and column:")
for line in (field[::2, ::2] / field.max() * 100).round().long().tolist():
    print(" ", *(f"{value or '·':>3}" for value in line))

print("\nmean squared error of the prediction, with and without skip connections:")
whole = list(corruption_sweep(model, digit[0], (0.2, 0.5, 0.8)))
with without_skips(model.net):
    cut = list(corruption_sweep(model, digit[0], (0.2, 0.5, 0.8)))
for point, other in zip(whole, cut, strict=True):
    print(f"  t = {point.t:.1f}: {point.error:.4f} with, {other.error:.4f} without")
