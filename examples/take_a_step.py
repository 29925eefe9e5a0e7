"""Takes a training step apart, plots the loss over the noise level, and trains a copy of the network on one image."""

from torch import Tensor

from core import load_dataset, load_model, training_steps


def shades(image: Tensor) -> list[str]:
    """An image (H, W) as characters, every other row, from blank (the smallest value) to @."""
    levels = (image - image.min()) / (image.max() - image.min())
    return ["".join(" .:-=+*#%@"[int(value * 9.99)] for value in row) for row in levels[::2].tolist()]


def bar(value: float, largest: float) -> str:
    return "█" * round(30 * value / largest)


model = load_model("default-mnist", device="cpu")
digits = load_dataset("glyphs", split="test", limit=8)
digit, label = digits.images[3] / 255, int(digits.labels[3])

step = next(training_steps(model, digit, label=label, seed=1))
print(f"noise level {step.t:.2f}: {step.alpha:.2f} image + {step.sigma:.2f} noise, and the size of the errors")
print("\n".join(" │ ".join(rows) for rows in zip(shades(step.noisy[0]), shades(step.errors[0].sqrt()), strict=True)))
print(f"loss {step.loss:.4f}, gradient {step.gradient_norm:.3f}; layers with the largest gradients:")
for layer in sorted(step.gradients, key=lambda layer: -layer.norm)[:8]:
    print(f"  {layer.name:<18}{layer.norm:8.4f}  {bar(layer.norm, step.gradient_norm)}")

*_, last = training_steps(model, digit, steps=7, batch_size=16, label=label, bins=10)
print("\nnoise level     mean loss of 128 predictions")
for part in last.bins:
    print(f"  {part.low:.1f} to {part.high:.1f}{part.mean:10.4f}  {bar(part.mean, max(b.mean for b in last.bins))}")

print("\nstep   loss of the same noise, while a copy of the network is trained")
for step in training_steps(model, digit, steps=6, batch_size=4, t=0.8, label=label, learning_rate=1e-3):
    print(f"{step.step:4d}{step.loss:10.4f}  {bar(step.loss, 0.2)}")
