"""What training minimizes: the ideal denoiser, the training images that it averages, and the copies that it samples."""

from core import TrainConfig, ideal_model, load_dataset, loss_floor, nearest_training_images, sample
from core.diffusion.sampling import noised

training = load_dataset("glyphs", limit=1000)
digit = load_dataset("glyphs", split="test", limit=1).images / 255
config = TrainConfig(dataset="glyphs", class_conditional=False)  # path flow, velocity prediction
model = ideal_model(config, training.images)

print("a new digit: the training images that the ideal denoiser averages, with their weights")
print("     t   error of the mean   effective number   largest weights")
for t in (0.2, 0.4, 0.6, 0.8, 0.9, 1.0):
    x = model.path.normalize(noised(model, digit, t))
    answer = model.net.predict(x, t, k=3)
    error = float((model.path.denormalize(answer.denoised) - digit).square().mean())
    pairs = zip(answer.indices[0].tolist(), answer.weights[0].tolist(), strict=True)
    weights = "  ".join(f"{weight:.2f} of image {index}" for index, weight in pairs)
    print(f"{t:6.1f}{error:20.4f}{float(answer.effective[0]):19.1f}   {weights}")

for patch in (None, 5):
    *_, last = sample(ideal_model(config, training.images[:200], patch=patch), n=4, steps=20, contrast=0)
    nearest = nearest_training_images(last.x, training.images[:200])
    kind = "whole images" if patch is None else f"patches of {patch}x{patch} pixels"
    distances = "  ".join(f"{distance:.3f}" for distance in nearest.distances[:, 0].tolist())
    print(f"\ndistance of samples to the nearest training image, {kind}: {distances}")

floor = loss_floor(config, training.images)
print(f"\nthe least possible training loss is {floor.mean:.4f}, with a standard error of {floor.mean_error:.4f}")
for t, value in list(zip(floor.levels, floor.values, strict=True))[::3]:
    print(f"  at t = {t:.2f}: {value:.4f}")
