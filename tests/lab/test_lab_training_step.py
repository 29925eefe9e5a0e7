"""Training steps against closed forms of a linear network, autograd, and the trainer."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from core import MinidiffError, training_steps
from core.compute.seeding import CORRUPTION, generator_for
from core.config.training import PREDICTIONS, TrainConfig
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS, sample_times
from core.lab.training_step import BINS, WINDOW, TrainingStep
from core.models.registry import build_model
from core.training.trainer import Trainer

PAIRS = [(path, prediction) for path, predictions in PREDICTIONS.items() for prediction in predictions]


class Scaled(nn.Module):
    """The prediction w x."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.weight * x


def linear(weight: float = 0.7, **options: object) -> LoadedModel:
    config = TrainConfig(**{"class_conditional": False, "precision": "float32", **options})
    return LoadedModel(Scaled(weight).eval(), config, 0, "linear")


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand((1, 28, 28), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def unet() -> LoadedModel:
    """An untrained network without zero weights, so that all layers have gradients."""
    config = TrainConfig(channels=(16, 16), precision="float32")
    net = build_model("patch_unet", channels=(16, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
    return LoadedModel(net.eval(), config, 0, "unet")


def only(model: LoadedModel, image: Tensor, **options: object) -> TrainingStep:
    (record,) = training_steps(model, image, **options)  # type: ignore[arg-type]
    return record


@pytest.mark.parametrize(("path", "prediction"), PAIRS)
def test_a_step_of_a_linear_network_matches_its_closed_form(path: str, prediction: str, image: Tensor) -> None:
    chosen = PATHS[path]
    record = only(linear(path=path, prediction=prediction), image, seed=3, bins=4)
    generator = generator_for(3, CORRUPTION, 0)
    t = sample_times("logit_normal", 1, generator)
    noise = chosen.sample_noise((1, 1, 28, 28), generator)[0]
    alpha, sigma = chosen.alpha_sigma(t.item())
    x_0 = chosen.normalize(image)
    noisy = alpha * x_0 + sigma * noise
    target = {
        "clean": x_0,
        "noise": noise,
        "velocity": noise - x_0,
        "v": alpha * noise - sigma * x_0,
    }[prediction]
    assert (record.step, record.label, record.t, record.weight) == (0, None, t.item(), 1.0)
    assert (record.alpha, record.sigma) == (alpha, sigma)
    assert torch.equal(record.image, x_0)
    assert torch.equal(record.noise, noise)
    torch.testing.assert_close(record.noisy, noisy, rtol=0, atol=1e-6)
    torch.testing.assert_close(record.target, target, rtol=0, atol=1e-6)
    torch.testing.assert_close(record.output, 0.7 * noisy, rtol=0, atol=1e-6)
    torch.testing.assert_close(record.errors, (0.7 * noisy - target).square(), rtol=1e-5, atol=1e-6)
    assert record.loss == pytest.approx(record.errors.mean().item(), rel=1e-5)
    assert record.batch_loss == pytest.approx(record.loss, rel=1e-5)
    (layer,) = record.gradients
    assert layer.norm == pytest.approx(abs(2 * ((0.7 * noisy - target) * noisy).mean().item()), rel=1e-4)
    assert (layer.name, layer.weight_norm) == ("", pytest.approx(0.7))
    assert layer.relative == pytest.approx(layer.norm / 0.7)
    assert record.gradient_norm == layer.norm
    (part,) = record.bins
    assert part.low <= record.t <= part.high
    assert (part.count, part.mean, part.std) == (1, pytest.approx(record.loss), 0)
    assert record.first_bins == ()


def test_the_loss_of_the_prediction_zero_is_the_mean_square_of_the_target(image: Tensor) -> None:
    record = only(linear(0.0), image)
    assert not record.output.any()
    torch.testing.assert_close(record.errors, record.target.square())
    assert record.loss == pytest.approx(record.target.square().mean().item(), rel=1e-5)
    assert record.gradients[0].relative is None


def test_errors_have_the_weighting_of_the_config(image: Tensor) -> None:
    record = only(linear(weighting="clean"), image, t=0.3)
    assert record.weight == pytest.approx(
        0.3**2, rel=1e-5
    )  # on a linear path the image's error is t times the velocity's
    torch.testing.assert_close(record.errors, 0.09 * (record.output - record.target).square(), rtol=1e-4, atol=1e-6)
    denoised = record.noisy - record.t * record.output
    torch.testing.assert_close(record.errors, (denoised - record.image).square(), rtol=1e-3, atol=1e-5)


def test_gradients_of_all_layers_match_autograd(unet: LoadedModel, image: Tensor) -> None:
    record = only(unet, image, label=3, seed=2)
    net = copy.deepcopy(unet.net)
    output = net(record.noisy[None], torch.tensor([record.t]), torch.tensor([3]))
    loss = nn.functional.mse_loss(output[0], record.target)
    names, weights = zip(*net.named_parameters(), strict=True)
    by_layer: dict[str, float] = {}
    for name, gradient in zip(names, torch.autograd.grad(loss, weights), strict=True):
        layer = name.rpartition(".")[0]
        by_layer[layer] = math.hypot(by_layer.get(layer, 0.0), gradient.norm().item())
    assert {layer.name: layer.norm for layer in record.gradients} == pytest.approx(by_layer, rel=1e-3, abs=1e-7)
    assert record.gradient_norm == pytest.approx(math.hypot(*by_layer.values()), rel=1e-3)
    assert record.batch_loss == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_steps_are_those_of_a_trainer_whose_images_are_all_the_same(optimizer: str, image: Tensor) -> None:
    config = TrainConfig(
        channels=(16, 16),
        batch_size=4,
        optimizer=optimizer,
        label_dropout=0.0,
        warmup_steps=0,
        lr_schedule="constant",
        clip_grad_norm=0.5,
        ema=0.0,
        precision="float32",
        seed=7,
    )
    trainer = Trainer(config, torch.device("cpu"))
    pixels = (image * 255).round().to(torch.uint8)
    trainer.set_data(pixels.expand(4, -1, -1, -1), torch.full((4,), 3))
    model = LoadedModel(copy.deepcopy(trainer.net), config, 0, "copy")
    options = {"batch_size": 4, "label": 3, "seed": 7, "learning_rate": config.learning_rate}
    found = [record.batch_loss for record in training_steps(model, pixels / 255, 3, **options)]  # type: ignore[arg-type]
    expected = [trainer.train_step()[0].item() for _ in range(4)]
    assert found == pytest.approx(expected, rel=1e-4)
    assert found[0] != pytest.approx(found[3], rel=0.01)


def test_the_first_step_of_adam_moves_a_weight_by_the_learning_rate(image: Tensor) -> None:
    model = linear(2.0, optimizer="adam")  # the gradient is positive
    first, second = training_steps(model, image, 1, t=0.5, learning_rate=0.1)
    assert (first.step, second.step) == (0, 1)
    assert torch.equal(first.noisy, second.noisy)
    torch.testing.assert_close(second.output, 1.9 * first.noisy, rtol=1e-4, atol=1e-5)
    assert second.loss < first.loss


def test_training_lowers_the_loss_on_the_image_and_leaves_the_model_as_it_is(unet: LoadedModel, image: Tensor) -> None:
    before = copy.deepcopy(unet.net.state_dict())
    records = list(training_steps(unet, image, 12, t=0.7, batch_size=2, learning_rate=3e-3))
    assert records[-1].loss < 0.7 * records[0].loss
    assert all(torch.equal(record.noise, records[0].noise) for record in records)
    assert all(torch.equal(value, before[name]) for name, value in unet.net.state_dict().items())
    assert all(parameter.grad is None for parameter in unet.net.parameters())
    assert not unet.net.training


def test_bins_hold_the_mean_and_the_standard_deviation_of_all_losses(image: Tensor) -> None:
    model, records = linear(), list(training_steps(linear(), image, 5, batch_size=16, bins=5))
    assert sum(part.count for part in records[-1].bins) == 6 * 16
    times, losses = [], []
    for step in range(6):
        generator = generator_for(0, CORRUPTION, step)
        t = sample_times("logit_normal", 16, generator)
        noise = model.path.sample_noise((16, 1, 28, 28), generator)
        x_0 = model.path.normalize(image)
        output = 0.7 * model.path.interpolate(x_0.expand_as(noise), noise, t)
        times += t.tolist()
        losses += (output - (noise - x_0)).square().mean(dim=(1, 2, 3)).tolist()
    for part in records[-1].bins:
        inside = torch.tensor([loss for t, loss in zip(times, losses, strict=True) if part.low <= t < part.high])
        assert part.count == len(inside)
        assert part.mean == pytest.approx(inside.mean().item(), rel=1e-4)
        assert part.std == pytest.approx(inside.std(correction=0).item(), rel=1e-3, abs=1e-5)


def test_while_weights_change_bins_hold_the_last_steps_beside_the_losses_of_the_given_model(image: Tensor) -> None:
    model = linear(2.0, optimizer="adam")
    still = list(training_steps(model, image, WINDOW + 2, batch_size=2))
    moving = list(training_steps(model, image, WINDOW + 2, batch_size=2, learning_rate=0.05))
    assert sum(part.count for part in moving[-1].bins) == 2 * WINDOW
    assert moving[WINDOW - 1].first_bins == still[WINDOW - 1].bins
    weighted = [sum(part.count * part.mean for part in bins) for bins in (moving[-1].bins, moving[-1].first_bins)]
    assert weighted[0] < 0.9 * weighted[1]
    assert moving[0].bins == moving[0].first_bins


def test_noise_that_is_kept_counts_once_in_the_bins(image: Tensor) -> None:
    *_, last = training_steps(linear(), image, 4, batch_size=3, t=0.999)
    assert sum(part.count for part in last.bins) == 3 + 4 * 2
    assert last.bins[-1].low == 1 - 1 / BINS


def test_a_caller_in_inference_mode_gets_gradients_too(image: Tensor) -> None:
    with torch.inference_mode():
        first, second = training_steps(linear(), image.clone(), 1, t=0.5, learning_rate=1e-3)
    assert first.gradient_norm > 0
    assert torch.equal(first.noisy, second.noisy)
    assert not torch.equal(first.output, second.output)  # the weight changed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": -1}, "steps must be at least 0"),
        ({"batch_size": 0}, "batch_size and bins at least 1, not 0, 0 and 20"),
        ({"bins": 0}, "not 0, 1 and 0"),
        ({"t": 1.5}, "t must lie in [0, 1], not 1.5"),
        ({"t": "high"}, "t must be a number"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"label": 3}, "trained without classes"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, object], words: str, image: Tensor) -> None:
    with pytest.raises(MinidiffError) as raised:
        training_steps(linear(), image, **options)  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_models_and_images_that_do_not_fit_are_refused(image: Tensor) -> None:
    distilled = linear(objective="consistency", init_from="default-mnist")
    with pytest.raises(MinidiffError, match="distilled"):
        training_steps(distilled, image)
    with pytest.raises(MinidiffError, match="no weights"):
        training_steps(LoadedModel(nn.Identity(), linear().config, 0, ""), image)
    with pytest.raises(MinidiffError, match="one image of shape"):
        training_steps(linear(), image[0])


def test_a_loss_that_is_not_finite_ends_the_steps(image: Tensor) -> None:
    with pytest.raises(MinidiffError, match="not finite after 0 steps"):
        only(linear(math.nan), image)
