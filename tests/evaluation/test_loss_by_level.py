"""The least possible loss at each noise level, against closed forms, and a model's excess over it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from core import IdealDenoiser, MinidiffError, TrainConfig, ideal_model, load_dataset, loss_floor
from core.config.datasets import DatasetInfo
from core.config.training import PREDICTIONS
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, loss_weight, sample_times, time_quantiles
from core.evaluation.loss_by_level import LossReport, compare_losses, loss_unavailable
from core.generators import result_of
from core.training.trainer import Trainer

LEVELS = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
PAIRS = [(path, prediction) for path in ("flow", "vp") for prediction in PREDICTIONS[path]]


def config(path: str = "flow", prediction: str = "velocity", **options: object) -> TrainConfig:
    given = {"dataset": "glyphs", "class_conditional": False, "precision": "float32", "device": "cpu", **options}
    return TrainConfig(path=path, prediction=prediction, **given)


@pytest.fixture(scope="module")
def glyphs() -> LabeledImages:
    return load_dataset("glyphs", limit=300)


@pytest.fixture(scope="module")
def unseen() -> LabeledImages:
    return load_dataset("glyphs", split="test", limit=200)


# Closed forms


@pytest.mark.parametrize(("path", "prediction"), PAIRS)
def test_of_one_image_the_floor_is_0(path: str, prediction: str, glyphs: LabeledImages) -> None:
    curve = loss_floor(config(path, prediction), glyphs.images[:1], levels=(0.0, *LEVELS, 1.0), n=4)
    assert curve.levels == (0.0, *LEVELS, 1.0)
    assert curve.values == pytest.approx([0] * 8, abs=1e-9)


@pytest.mark.parametrize(("path", "prediction"), PAIRS)
def test_of_two_points_the_floor_is_the_variance_of_a_bernoulli_posterior(path: str, prediction: str) -> None:
    """Images that are constant, -a or a: the posterior depends on the mean of the pixels only."""
    a, pixels = 0.15, 64
    info = DatasetInfo(height=8, width=8, class_names=())
    chosen = config(path, prediction, dataset="./two", dataset_info=info)
    images = torch.tensor([(1 - a) / 2, (1 + a) / 2]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    curve = loss_floor(chosen, images, levels=LEVELS, n=4000)
    for t, value, error in zip(curve.levels, curve.values, curve.errors, strict=True):
        alpha, sigma = PATHS[path].alpha_sigma(t)
        z = torch.linspace(-8, 8, 20_001, dtype=torch.float64)  # of the noise of the pixels' mean
        x = alpha * a + sigma / math.sqrt(pixels) * z
        p = torch.sigmoid(2 * alpha * a * x * pixels / sigma**2)
        variance = float((4 * a**2 * p * (1 - p) * torch.exp(-z.square() / 2)).mean() * 16 / math.sqrt(2 * math.pi))
        scale = float(loss_weight(PATHS[path], "clean", prediction, torch.tensor([t])))
        assert value == pytest.approx(scale * variance, abs=4 * error + 1e-4 * scale * a**2)
        assert error < 0.05 * scale * a**2


def test_the_mean_is_the_one_under_the_distribution_of_the_noise_levels(glyphs: LabeledImages) -> None:
    """Against the loss of images whose noise levels are sampled as in training."""
    for time_sampling in ("uniform", "logit_normal"):
        chosen = config(time_sampling=time_sampling)
        curve = loss_floor(chosen, glyphs.images, n=100, seed=1)
        generator = torch.Generator().manual_seed(0)
        t = sample_times(time_sampling, 2000, generator)
        indices = torch.randint(300, (2000,), generator=generator)
        x_0 = PATHS["flow"].normalize(glyphs.images[indices] / 255)
        eps = PATHS["flow"].sample_noise(x_0.shape, generator)
        ideal = IdealDenoiser("flow", glyphs.images, prediction="velocity")
        losses = (ideal(PATHS["flow"].interpolate(x_0, eps, t), t) - (eps - x_0)).square().mean((1, 2, 3))
        error = math.hypot(curve.mean_error, float(losses.std()) / math.sqrt(2000))
        assert curve.mean == pytest.approx(float(losses.mean()), abs=4 * error)


@pytest.mark.parametrize("time_sampling", ["uniform", "logit_normal"])
def test_quantiles_divide_the_noise_levels_of_training_into_equal_parts(time_sampling: str) -> None:
    quantiles = time_quantiles(time_sampling, 8)
    t = sample_times(time_sampling, 100_000, torch.Generator().manual_seed(0))
    below = (t[:, None] < quantiles).float().mean(0)
    torch.testing.assert_close(below, (torch.arange(8) + 0.5) / 8, rtol=0, atol=0.006)


def test_the_floor_is_reproducible_and_its_standard_error_is_that_of_other_seeds(glyphs: LabeledImages) -> None:
    def mean(seed: int) -> tuple[float, float]:
        curve = loss_floor(config(), glyphs.images, n=16, seed=seed)
        return curve.mean, curve.mean_error

    assert mean(3) == mean(3)
    results = torch.tensor([mean(seed) for seed in range(12)], dtype=torch.float64)
    assert results[:, 0].std() == pytest.approx(results[:, 1].mean(), rel=0.6)


def test_a_known_class_lowers_the_floor(glyphs: LabeledImages) -> None:
    alone = loss_floor(config(), glyphs.images, n=32)
    conditional = loss_floor(config(class_conditional=True), *glyphs, n=32)
    assert conditional.mean < alone.mean - 3 * alone.mean_error


# Comparison with a network


class Shrinking(nn.Module):
    """Predicts the velocity for images from N(-0.8, 0.5^2): a poor network that has seen no image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        alpha, sigma = (1 - t).view(-1, 1, 1, 1), t.view(-1, 1, 1, 1)
        away = (x + 0.8 * alpha) / (alpha**2 * 0.25 + sigma**2)
        return sigma * away - (alpha * 0.25 * away - 0.8)


def report(net: nn.Module, chosen: TrainConfig, training: LabeledImages, validation: LabeledImages) -> LossReport:
    return result_of(compare_losses(LoadedModel(net, chosen, 0, "net"), training, validation, levels=LEVELS, n=32))


def test_the_loss_of_a_network_is_that_of_training_and_never_below_the_floor(
    glyphs: LabeledImages, unseen: LabeledImages
) -> None:
    chosen = config(time_sampling="uniform", weighting="clean")
    result = report(Shrinking(), chosen, glyphs, unseen)
    training = result.training
    assert result.n == 32
    assert all(
        excess == pytest.approx(network - ideal, abs=1e-9)
        for network, ideal, excess in zip(
            training.network.values, training.ideal.values, training.excess.values, strict=True
        )
    )
    assert min(training.excess.values) > 0
    trainer = Trainer(chosen.changed(channels=(16, 16)), torch.device("cpu"))
    trainer.ema_net = Shrinking()
    fine = result_of(compare_losses(LoadedModel(Shrinking(), chosen, 0, "net"), glyphs, unseen, n=256))
    for data, found in ((glyphs, fine.training), (unseen, fine.validation)):
        images = data.images.repeat(10, 1, 1, 1)
        total = sum(float(error) for error in trainer.validation_errors(images, data.labels.repeat(10)))
        assert found.network.mean == pytest.approx(total / images.numel(), rel=0.06)


def test_on_validation_images_the_ideal_denoiser_is_worse_below_some_noise_level(
    glyphs: LabeledImages, unseen: LabeledImages
) -> None:
    result = report(Shrinking(), config(), glyphs, unseen)
    assert result.memorising_below is not None
    assert LEVELS[0] < result.memorising_below < LEVELS[-1]
    for t, excess in zip(LEVELS, result.validation.excess.values, strict=True):
        assert (excess < 0) == (t < result.memorising_below)


def test_an_ideal_network_has_no_excess(glyphs: LabeledImages, unseen: LabeledImages) -> None:
    chosen = config(class_conditional=True, prediction="clean")

    class Ideal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.net = ideal_model(chosen, *glyphs).net

        def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            return self.net(x, t, labels)

    result = report(Ideal(), chosen, glyphs, unseen)
    assert result.training.excess.values == pytest.approx([0] * len(LEVELS), abs=1e-9)
    assert result.memorising_below is None
    assert result.training.ideal.mean < result.validation.ideal.mean


def test_progress_is_counted_in_noisy_images(glyphs: LabeledImages, unseen: LabeledImages) -> None:
    steps = list(compare_losses(LoadedModel(Shrinking(), config(), 0, "net"), glyphs, unseen, levels=(0.2, 0.5), n=200))
    assert steps == [(256, 800), (400, 800), (656, 800), (800, 800)]


def test_validation_images_of_a_class_without_training_images_are_left_out(
    glyphs: LabeledImages, unseen: LabeledImages
) -> None:
    some = glyphs.labels < 5
    training = LabeledImages(glyphs.images[some], glyphs.labels[some])
    result = report(Shrinking(), config(class_conditional=True), training, unseen)
    assert all(map(math.isfinite, result.validation.ideal.values))


# Errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"preset": "quick"}, "the noise of the path mix is not Gaussian"),
        ({"objective": "consistency", "init_from": "a"}, "a distilled model is trained on its teacher's predictions"),
        ({"augment_shift": 1}, "mirrored or shifted at random"),
    ],
)
def test_runs_without_a_floor_are_refused_with_the_reason(
    options: dict[str, object], words: str, glyphs: LabeledImages
) -> None:
    chosen = TrainConfig(**{"dataset": "glyphs", **options})
    assert words in str(loss_unavailable(LoadedModel(Shrinking(), chosen, 0, "net")))
    with pytest.raises(MinidiffError, match=words):
        loss_floor(chosen, *glyphs)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"n": 1}, "n must be at least 2"), ({"levels": ()}, "at least one"), ({"levels": (0.5, 1.5)}, "in \\[0, 1\\]")],
)
def test_arguments_out_of_range_are_refused(options: dict[str, object], words: str, glyphs: LabeledImages) -> None:
    with pytest.raises(MinidiffError, match=words):
        loss_floor(config(), glyphs.images, **options)  # type: ignore[arg-type]
    with pytest.raises(MinidiffError, match="pass labels"):
        loss_floor(config(class_conditional=True), glyphs.images)
