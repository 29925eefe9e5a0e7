"""The ideal denoiser: closed forms, float64 references, its training images and weights, and copies when sampled."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from core import IdealDenoiser, MinidiffError, TrainConfig, ideal_model, load_dataset, sample
from core.config.sampling import noise_levels
from core.config.training import PREDICTIONS
from core.data.datasets import LabeledImages
from core.diffusion import ideal_denoiser
from core.diffusion.prob_paths import PATHS, ProbPath, training_target
from core.diffusion.samplers import SAMPLERS, Denoiser, step_generators

GAUSSIAN = ("flow", "vp")
each_path = pytest.mark.parametrize("path", [PATHS[name] for name in GAUSSIAN], ids=GAUSSIAN)


@pytest.fixture(scope="module")
def glyphs() -> LabeledImages:
    return load_dataset("glyphs", limit=200)


def random_images(n: int, shape: tuple[int, int, int] = (1, 6, 6), seed: int = 0) -> Tensor:
    return torch.rand((n, *shape), generator=torch.Generator().manual_seed(seed))


def noisy(path: ProbPath, images: Tensor, t: Tensor, seed: int = 0) -> Tensor:
    """Images in [0, 1] at noise levels t, in the path's value range."""
    eps = path.sample_noise(images.shape, torch.Generator().manual_seed(seed))
    return path.interpolate(path.normalize(images), eps, t)


def reference(path: ProbPath, images: Tensor, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean, in the path's value range, and weights in float64, from the differences of every pair."""
    y = path.normalize(images.double() / (255 if images.dtype == torch.uint8 else 1)).flatten(1)
    alpha, sigma = (part.view(-1, 1) for part in (path.alpha(t.double()), path.sigma(t.double())))
    distances = torch.stack(
        [(row - a * y).square().sum(1) for row, a in zip(x.double().flatten(1), alpha, strict=True)]
    )
    weights = torch.softmax(-distances / (2 * sigma.square()), 1)
    return (weights @ y).view(x.shape), weights


# Closed forms


@each_path
def test_of_one_training_image_the_prediction_is_that_image(path: ProbPath) -> None:
    image = random_images(1)
    x = 3 * torch.randn((5, 1, 6, 6), generator=torch.Generator().manual_seed(1))
    predicted = IdealDenoiser(path, image)(x, torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]))
    torch.testing.assert_close(predicted, path.normalize(image).expand_as(x), rtol=0, atol=1e-6)


@each_path
def test_of_two_points_the_weight_is_a_sigmoid(path: ProbPath) -> None:
    """Two images of one value, -a and a: the posterior mean is a tanh(alpha a x / sigma^2)."""
    a = 0.6
    images = torch.tensor([(1 - a) / 2, (1 + a) / 2]).view(2, 1, 1, 1)
    x, t = torch.linspace(-2, 2, 41), torch.tensor(0.4)
    predicted = IdealDenoiser(path, images).predict(x.view(-1, 1, 1, 1), t, k=2)
    alpha, sigma = path.alpha_sigma(0.4)
    logit = 2 * alpha * a * x / sigma**2
    torch.testing.assert_close(predicted.denoised.flatten(), a * torch.tanh(logit / 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(predicted.weights[:, 0], logit.abs().sigmoid(), rtol=0, atol=1e-5)
    assert predicted.indices[:, 0].tolist() == [0] * 20 + [predicted.indices[20, 0].item()] + [1] * 20
    p = torch.sigmoid(logit.double())
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    torch.testing.assert_close(predicted.effective.double(), entropy.exp(), rtol=1e-4, atol=0)


@each_path
def test_of_many_gaussian_points_it_shrinks_linearly(path: ProbPath) -> None:
    """For data from N(0, s^2 I), the posterior mean is alpha s^2 / (alpha^2 s^2 + sigma^2) x."""
    s, generator = 0.2, torch.Generator().manual_seed(0)
    points = torch.randn((100_000, 1, 1, 2), generator=generator) * s
    ideal = IdealDenoiser(path, points / 2 + 0.5)
    for t in (0.3, 0.6, 0.9):
        alpha, sigma = path.alpha_sigma(t)
        x = torch.randn((200, 1, 1, 2), generator=generator) * math.hypot(alpha * s, sigma)
        expected = alpha * s**2 / (alpha**2 * s**2 + sigma**2) * x
        assert (ideal(x, t) - expected).square().mean().sqrt() < 0.03 * s


@each_path
def test_without_noise_it_is_the_nearest_image_and_without_signal_the_mean(
    path: ProbPath, glyphs: LabeledImages
) -> None:
    ideal, clean = IdealDenoiser(path, glyphs.images), path.normalize(glyphs.images / 255)
    torch.testing.assert_close(ideal(clean[:5], 0.0), clean[:5], rtol=0, atol=1e-5)
    x = torch.randn((3, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    answer = IdealDenoiser("flow", glyphs.images).predict(x, 1.0)
    torch.testing.assert_close(answer.denoised, clean.mean(0, keepdim=True).expand_as(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(answer.effective, torch.full((3,), 200.0), rtol=1e-4, atol=0)


# Accuracy, memory and weights


@each_path
def test_the_error_of_float32_is_small_at_every_noise_level(path: ProbPath) -> None:
    """Also where near copies differ by the size of the noise, so that sums of products would cancel."""
    generator = torch.Generator().manual_seed(0)
    digits = load_dataset("glyphs", limit=500).images
    copies = (digits[:250].int() + torch.randint(-2, 3, (250, 1, 28, 28), generator=generator)).clamp(0, 255).byte()
    images = torch.cat((digits, copies))
    t = torch.tensor([0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0]).repeat_interleave(4)
    x = noisy(path, digits[: len(t)] / 255, t)
    mean, weights = reference(path, images, x, t)
    answer = IdealDenoiser(path, images).predict(x, t, k=4)
    torch.testing.assert_close(answer.denoised.double(), mean, rtol=0, atol=1e-4)
    torch.testing.assert_close(answer.weights.double(), weights.topk(4).values, rtol=0, atol=5e-4)
    at = weights.gather(1, answer.indices)
    torch.testing.assert_close(answer.weights.double(), at, rtol=0, atol=5e-4)
    entropy = torch.special.entr(weights).sum(1)
    torch.testing.assert_close(answer.effective.double(), entropy.exp(), rtol=5e-3, atol=0)


def test_results_do_not_depend_on_the_size_of_the_parts(glyphs: LabeledImages, monkeypatch: pytest.MonkeyPatch) -> None:
    t = torch.linspace(0.05, 1, 9)
    x, labels = noisy(PATHS["flow"], glyphs.images[:9] / 255, t), glyphs.labels[:9].clone()
    labels[4:] = 10
    ideal = IdealDenoiser("flow", glyphs.images, glyphs.labels, classes=10)
    whole = ideal(x, t, labels)
    for name, size in (("_PAIRS", 300), ("_VALUES", 784 * 7)):
        monkeypatch.setattr(ideal_denoiser, name, size)
    torch.testing.assert_close(ideal(x, t, labels), whole, rtol=0, atol=1e-5)
    assert ideal(x.double(), t, labels).dtype == torch.float64


def test_bytes_and_values_in_0_to_1_give_the_same(glyphs: LabeledImages) -> None:
    t = torch.linspace(0.1, 0.9, 5)
    x = noisy(PATHS["vp"], glyphs.images[:5] / 255, t)
    expected = IdealDenoiser("vp", glyphs.images)(x, t)
    for images in (glyphs.images / 255, (glyphs.images / 255).numpy(), glyphs.images.numpy()):
        torch.testing.assert_close(IdealDenoiser("vp", images)(x, t), expected, rtol=0, atol=1e-5)


def test_for_a_class_it_averages_only_the_images_of_that_class(glyphs: LabeledImages) -> None:
    images, labels = glyphs
    x, t = torch.randn((3, 1, 28, 28), generator=torch.Generator().manual_seed(0)), torch.full((3,), 0.95)
    ideal = IdealDenoiser("flow", images, labels, classes=10)
    answer = ideal.predict(x, t, torch.tensor([3, 10, 7]))
    for row, members in ((0, labels == 3), (1, labels >= 0), (2, labels == 7)):
        alone = IdealDenoiser("flow", images[members]).predict(x[row : row + 1], 0.95)
        torch.testing.assert_close(answer.denoised[row], alone.denoised[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(answer.weights[row], alone.weights[0], rtol=0, atol=1e-5)
        assert torch.equal(answer.indices[row], members.nonzero()[alone.indices[0], 0])
    torch.testing.assert_close(ideal(x, t), IdealDenoiser("flow", images)(x, t), rtol=0, atol=0)


@pytest.mark.parametrize(("path", "prediction"), [(name, one) for name in GAUSSIAN for one in PREDICTIONS[name]])
def test_every_prediction_type_is_the_posterior_mean_in_another_form(path: str, prediction: str) -> None:
    """Samplers see the same clean image, noise and velocity, whatever is predicted."""
    prob_path, images = PATHS[path], random_images(20)
    t = torch.tensor([0.05, 0.4, 0.8])
    x = noisy(prob_path, images[:3], t)
    clean = IdealDenoiser(path, images)(x, t)
    ideal = IdealDenoiser(path, images, prediction=prediction)
    alpha, sigma = (part.view(-1, 1, 1, 1) for part in (prob_path.alpha(t), prob_path.sigma(t)))
    expected = training_target(prob_path, prediction, clean, (x - alpha * clean) / sigma, t)
    torch.testing.assert_close(ideal(x, t), expected, rtol=1e-4, atol=1e-4)
    seen, same = (
        Denoiser(net, prob_path, form).predict(x, t)
        for net, form in ((ideal, prediction), (IdealDenoiser(path, images), "clean"))
    )
    for ours, theirs in zip(seen, same, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


# Local patches


def test_patches_as_large_as_the_image_are_whole_images() -> None:
    images, t = random_images(30, (3, 5, 7)), torch.tensor([0.2, 0.5, 0.9])
    x = noisy(PATHS["flow"], images[:3], t)
    whole, patches = IdealDenoiser("flow", images), IdealDenoiser("flow", images, patch=13)
    torch.testing.assert_close(patches(x, t), whole(x, t), rtol=0, atol=1e-5)


@each_path
def test_each_pixel_is_predicted_from_the_patch_around_it(path: ProbPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ideal_denoiser, "_VALUES", 500)  # several parts of the training images
    images, t = random_images(40, (3, 5, 7)), torch.tensor([0.2, 0.5, 0.9])
    x = noisy(path, images[:3], t)
    for patch in (1, 3):
        predicted, reach = IdealDenoiser(path, images, patch=patch)(x, t), patch // 2
        for row, column in ((0, 0), (2, 3), (4, 6)):
            rows, columns = (slice(max(0, at - reach), at + reach + 1) for at in (row, column))
            _, weights = reference(path, images[:, :, rows, columns], x[:, :, rows, columns], t)
            expected = weights @ path.normalize(images.double())[:, :, row, column]
            torch.testing.assert_close(predicted[:, :, row, column].double(), expected, rtol=0, atol=1e-5)


# Sampling


@pytest.mark.parametrize("name", ["euler", "dpm2m"])
@each_path
def test_a_trajectory_ends_on_one_of_three_images(path: ProbPath, name: str) -> None:
    """Only Euler's last step on vp is not exact, since its velocity is unbounded at t = 0."""
    images = random_images(3)
    denoiser = Denoiser(IdealDenoiser(path, images), path, "clean")
    x = path.sample_noise((64, 1, 6, 6), torch.Generator().manual_seed(0))
    *_, (last, _) = SAMPLERS[name](denoiser, x, noise_levels(60), step_generators(torch.Generator().manual_seed(0)))
    distances = (last[:, None] - path.normalize(images)).square().mean((2, 3, 4)).sqrt()
    assert distances.amin(1).max() < (0.02 if (path.name, name) == ("vp", "euler") else 1e-4)
    assert set(distances.argmin(1).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("path", GAUSSIAN)
def test_samples_are_copies_of_training_images(path: str, glyphs: LabeledImages) -> None:
    config = TrainConfig(path=path, prediction="noise", dataset="glyphs", class_conditional=False)
    *steps, last = sample(ideal_model(config, glyphs.images), n=40, steps=30, contrast=0)
    differences = last.x[:, None] - glyphs.images / 255
    assert differences.square().mean((2, 3, 4)).sqrt().amin(1).max() < 1e-4
    errors = [float((before.x - last.x).square().mean()) for before, _ in pairwise(steps)]
    assert errors == sorted(errors, reverse=True)


def test_samples_of_a_class_are_copies_of_images_of_that_class(glyphs: LabeledImages) -> None:
    images, labels = glyphs
    *_, last = sample(ideal_model(TrainConfig(dataset="glyphs"), images, labels), n=20, guidance=1, contrast=0)
    nearest = (last.x[:, None] - images / 255).square().mean((2, 3, 4))
    assert nearest.amin(1).max().sqrt() < 1e-3
    assert torch.equal(labels[nearest.argmin(1)], torch.arange(20) % 10)


def test_samples_of_local_patches_are_not_copies(glyphs: LabeledImages) -> None:
    config = TrainConfig(dataset="glyphs", class_conditional=False)
    *_, last = sample(ideal_model(config, glyphs.images, patch=5), n=4, steps=10, contrast=0)
    assert (last.x[:, None] - glyphs.images / 255).square().mean((2, 3, 4)).sqrt().amin() > 0.02


# Errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "mix"}, "needs Gaussian noise, and that of the path mix is uniform"),
        ({"path": "flaw"}, "did you mean flow"),
        ({"prediction": "v"}, "the path flow supports the predictions clean, noise, velocity, not v"),
        ({"images": torch.zeros(3, 6, 6)}, "images must have shape (N, C, H, W)"),
        ({"images": torch.zeros(0, 1, 6, 6)}, "N at least 1"),
        ({"images": torch.full((3, 1, 6, 6), 255.0)}, "images must be in [0, 1]"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, "labels must be 3 classes from 0"),
        ({"labels": torch.full((3,), -1)}, "labels must be 3 classes from 0"),
        ({"labels": torch.tensor([0, 1, 4]), "classes": 3}, "labels must be from 0 to 2, found 4"),
        ({"patch": 4}, "patch must be an odd number"),
    ],
)
def test_wrong_arguments_are_one_line_errors(options: dict[str, object], words: str) -> None:
    with pytest.raises(MinidiffError) as error:
        IdealDenoiser(**{"path": "flow", "images": random_images(3), **options})  # type: ignore[arg-type]
    assert words in str(error.value)


def test_wrong_calls_are_one_line_errors() -> None:
    ideal = IdealDenoiser("flow", random_images(3), torch.tensor([0, 0, 2]))
    x = torch.zeros(2, 1, 6, 6)
    for call, words in (
        (lambda: ideal(torch.zeros(2, 1, 6, 7), 0.5), "shape of the training images"),
        (lambda: ideal(x, 0.5, torch.tensor([0, 1])), "none of the 3 training images has the class 1"),
        (lambda: ideal.predict(x, 0.5, k=4), "k must be from 1 to 3"),
        (lambda: ideal.predict(x, 0.5, torch.tensor([0, 2]), k=2), "k must be from 1 to 1"),
        (lambda: IdealDenoiser("flow", random_images(3), patch=3).predict(x, 0.5), "leave patch out"),
        (lambda: ideal_model(TrainConfig(dataset="glyphs"), random_images(3)), "pass labels"),
        (
            lambda: ideal_model(TrainConfig(dataset="glyphs", class_conditional=False), random_images(3)),
            "the config's shape (1, 28, 28), not (1, 6, 6)",
        ),
    ):
        with pytest.raises(MinidiffError) as error:
            call()
        assert words in str(error.value)
