"""Inpainting, guidance by a loss and class mixing, against closed forms for normally distributed data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_models import (
    CLASS_MEANS,
    MEAN,
    PATH_OPTIONS,
    SIDE,
    STD,
    colour_model,
    gaussian_data,
    gaussian_model,
    in_path_range,
    last,
)

from core import (
    MinidiffError,
    TrainConfig,
    build_model,
    inpaint,
    interpolate_images,
    interpolate_seeds,
    mix_classes,
    sample,
    sample_with_loss,
)
from core.config.datasets import DatasetInfo
from core.config.sampling import SAMPLER_NAMES, incompatibility
from core.diffusion import sampling
from core.diffusion.editing import class_mix, inpainting, loss_guidance
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import Edit, merged, sample_batches

RIGHT = torch.zeros(SIDE, SIDE)
RIGHT[:, SIDE // 2 :] = 1  # the right half is generated
each_path = pytest.mark.parametrize("path", PATH_OPTIONS)


# Inpainting


@each_path
@pytest.mark.parametrize("resamplings", [1, 3])
def test_inpainting_keeps_the_known_part_with_every_sampler(path: str, resamplings: int) -> None:
    """Up to the rounding of scaling to the path's value range and back."""
    model, mask = colour_model(**PATH_OPTIONS[path]), torch.zeros(16, 12, dtype=torch.bool)
    mask[4:9, 3:] = True
    images = torch.rand((2, 3, 16, 12), generator=torch.Generator().manual_seed(3))
    for sampler in SAMPLER_NAMES:
        if incompatibility(sampler, path) is None:
            records = list(inpaint(model, images, mask, steps=2, sampler=sampler, resamplings=resamplings))
            assert [record.index for record in records] == [0, 1, 2]
            x = records[-1].x
            assert x.shape == images.shape
            torch.testing.assert_close(x[:, :, ~mask], images[:, :, ~mask], atol=1e-6, rtol=0)
            assert not torch.allclose(x[:, :, mask], images[:, :, mask], atol=1e-2)


@pytest.mark.parametrize("path", ["flow", "vp"])
@pytest.mark.parametrize("resamplings", [1, 4])
def test_the_generated_part_has_the_mean_and_variance_of_the_data(path: str, resamplings: int) -> None:
    """Pixels are independent, so the known part has no influence. 400 x 32 pixels: standard error 0.004."""
    images, options = gaussian_data(400), {"steps": 60, "sampler": "heun", "contrast": 0.0}
    x = last(inpaint(gaussian_model(path), images, RIGHT, seed=1, resamplings=resamplings, **options)).x
    torch.testing.assert_close(x[..., : SIDE // 2], images[..., : SIDE // 2], atol=1e-6, rtol=0)
    generated = in_path_range(x[..., SIDE // 2 :])
    assert generated.mean().item() == pytest.approx(MEAN, abs=0.015)
    assert generated.std().item() == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize("path", ["flow", "vp"])
def test_resampling_approaches_the_conditional_mean_and_variance(path: str) -> None:
    """RePaint ignores in each step what the known part will become; resampling corrects it (their section 4.2)."""
    rho = 0.8
    model, known = gaussian_model(path, rho=rho), gaussian_data(400)
    left, errors = in_path_range(known[..., : SIDE // 2]) - MEAN, []
    for resamplings in (1, 4, 16):
        steps = inpaint(model, known, RIGHT, steps=40, resamplings=resamplings, sampler="heun", contrast=0.0)
        right = in_path_range(last(steps).x[..., SIDE // 2 :]) - MEAN
        errors.append(rho - ((right * left).mean() / left.square().mean()).item())  # of E[right | left] = rho left
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < errors[0] / 3
    assert (right - rho * left).std().item() == pytest.approx(STD * (1 - rho**2) ** 0.5, rel=0.15)


def test_one_image_has_many_completions_and_a_lower_start_stays_closer() -> None:
    model, image = gaussian_model(), gaussian_data(1)
    x = last(inpaint(model, image, RIGHT, n=200, steps=10)).x
    assert x.shape == (200, 1, SIDE, SIDE)
    assert x[..., SIDE // 2 :].std(dim=0).min() > 0.1
    near = last(inpaint(model, image, RIGHT, n=200, steps=10, start_t=0.2, resamplings=1)).x
    assert (near - image).abs().mean() < (x - image).abs().mean() / 2


def test_each_image_has_its_own_mask() -> None:
    images, masks = gaussian_data(3), torch.zeros(3, 1, SIDE, SIDE)
    for index in range(3):
        masks[index, :, index] = 1
    x = last(inpaint(gaussian_model(), images, masks.numpy(), steps=3)).x
    changed = (x - images).abs() > 1e-5
    assert torch.equal(changed, masks.bool())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mask": torch.ones(9, 8)}, r"mask needs shape \(8, 8\) or \(n, 1, 8, 8\), not \(9, 8\)"),
        ({"mask": RIGHT * 255}, "mask must be 1 where pixels are generated and 0 elsewhere, found 0 to 255"),
        ({"mask": "right"}, "mask must be a tensor or a NumPy array, not str"),
        ({"mask": torch.ones(4, 1, 8, 8)}, "2 images need 2 masks, not 4"),
        ({"images": gaussian_data(2) * 255}, r"images has values from .* but images must be in \[0, 1\]"),
        ({"images": torch.rand(2, 3, 8, 8)}, "the model's images are gray, with 1 channel$"),
        ({"n": 3}, "3 images need 3 start images, not 2"),
        ({"resamplings": 0}, "resamplings must be at least 1, not 0"),
        ({"start_t": 1.5}, "start_t must lie in"),
        ({"sampler": "diffusers:FlowMatchEulerDiscreteScheduler"}, "use another sampler"),
        ({"sampler": "hein"}, "did you mean heun"),
    ],
)
def test_invalid_inpainting_is_refused_before_the_first_step(changes: dict[str, Any], words: str) -> None:
    arguments = {"images": gaussian_data(2), "mask": RIGHT, **changes}
    with pytest.raises(MinidiffError, match=words) as caught:
        inpaint(gaussian_model(), **arguments)
    assert len(str(caught.value).splitlines()) == 1


# Guidance by a loss


@pytest.mark.parametrize("path", ["flow", "vp"])
@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpm2m"])
def test_a_linear_loss_shifts_the_mean_by_the_variance_times_its_gradient(path: str, sampler: str) -> None:
    """N(mean, std^2) times exp(w x) is N(mean + std^2 w, std^2). Tolerance: 5% of the shift."""
    if (path, sampler) == ("vp", "heun"):
        pytest.skip("heun treats the last step of vp as linear")
    w, std = 3.0, STD / 2  # of images in [0, 1]
    options: dict[str, Any] = {"n": 64, "steps": 100, "sampler": sampler, "seed": 2, "contrast": 0.0}
    model = gaussian_model(path)
    plain, guided = (
        last(steps).x
        for steps in (
            sample(model, **options),
            sample_with_loss(model, lambda denoised: -w * denoised.sum((1, 2, 3)), **options),
        )
    )
    torch.testing.assert_close(guided - plain, torch.full_like(plain, std**2 * w), atol=0.05 * std**2 * w, rtol=0)


def test_a_larger_scale_brings_samples_closer_to_a_target() -> None:
    model, target = gaussian_model(), 0.9

    def loss(denoised: Tensor) -> Tensor:
        return (denoised - target).square().sum((1, 2, 3))

    distances = [
        loss(last(sample_with_loss(model, loss, n=32, steps=20, scale=scale)).x).mean().item()
        for scale in (0.0, 2.0, 8.0, 20.0)
    ]
    assert all(before > after for before, after in pairwise(distances))
    assert distances[0] == pytest.approx(loss(last(sample(model, n=32, steps=20)).x).mean().item(), rel=1e-5)
    assert distances[-1] < distances[0] / 3


@each_path
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_gradient_passes_through_a_real_network_in_any_mode(path: str, mode: Callable[[], Any]) -> None:
    model = colour_model(**PATH_OPTIONS[path])

    def redness(denoised: Tensor) -> Tensor:
        return denoised[:, 1:].mean((1, 2, 3)) - denoised[:, 0].mean((1, 2))

    generator = torch.Generator().manual_seed(0)
    image, direction = torch.rand(2, 1, 3, 16, 12, generator=generator)
    t, scale, h = 0.5, 20.0, 0.01

    def predicted(images: Tensor, edit: Edit | None = None) -> Tensor:
        steps = sample_batches(model, 1, steps=1, images=images, start_t=t, edit=edit, contrast=0.0)
        prediction = last(merged(steps)).prediction
        assert prediction is not None
        return prediction

    with mode():
        plain, guided = predicted(image), predicted(image, loss_guidance(redness, scale))
        slope = (redness(predicted(image + h * direction)) - redness(predicted(image - h * direction))) / (2 * h)
    assert not guided.requires_grad
    alpha, sigma = model.path.alpha_sigma(t)
    range_length = model.path.normalize(torch.ones(1)) - model.path.normalize(torch.zeros(1))
    # Both the gradient in x_t = alpha x_0 + sigma noise and the shift of x_0 are in the value range of the path.
    expected = -scale * (sigma / alpha) ** 2 * slope / range_length**2
    torch.testing.assert_close(((guided - plain) * direction).sum((1, 2, 3)), expected, rtol=0.01, atol=0)
    assert all(parameter.grad is None for parameter in model.net.parameters())


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda denoised: denoised.mean(), r"one loss per image, shape \(8,\), not shape \(\)"),
        (lambda denoised: 1.0, "not float"),
        (lambda denoised: denoised.detach().sum((1, 2, 3)), "must be differentiable"),
    ],
)
def test_a_loss_of_another_kind_is_refused_in_one_line(loss: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        list(sample_with_loss(gaussian_model(), loss, steps=4))


# Class mixing


@each_path
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_weights_1_and_0_give_the_first_class_alone(path: str, guidance: float) -> None:
    model = colour_model(**PATH_OPTIONS[path])
    options: dict[str, Any] = {"n": 3, "steps": 4, "guidance": guidance}
    mixed, alone = last(mix_classes(model, {0: 1, 1: 0}, **options)).x, last(sample(model, labels=0, **options)).x
    torch.testing.assert_close(mixed, alone, atol=1e-5, rtol=0)
    other = last(sample(model, labels=1, **options)).x
    assert not torch.allclose(mixed, other, atol=1e-3)


@pytest.mark.parametrize("path", ["flow", "vp"])
@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.25, 0.75), (1.0, 1.0), (2.0, 0.0)])
def test_mixed_classes_of_equal_variance_have_the_weighted_mean(path: str, weights: tuple[float, float]) -> None:
    """Deviations from the null class's mean add up; the DDIM steps of both models have the same error."""
    model = gaussian_model(path, classes=True)
    options: dict[str, Any] = {"n": 8, "steps": 200, "sampler": "ddim", "guidance": 1.0, "contrast": 0.0}
    plain = in_path_range(last(sample(model, labels=-1, **options)).x)
    mixed = in_path_range(last(mix_classes(model, dict(enumerate(weights)), **options)).x)
    null = CLASS_MEANS[2]
    shift = sum(w * (mean - null) for w, mean in zip(weights, CLASS_MEANS, strict=False))
    torch.testing.assert_close(mixed - plain, torch.full_like(plain, shift), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "of at least one class"),
        ({2: 1.0}, "a class must be a number from 0 to 1, not 2"),
        ({0: float("nan")}, "the weights must be finite numbers"),
        ({0: "much"}, "a weight must be a number"),
        ({0.5: 1.0}, "a class must be a whole number"),
    ],
)
def test_invalid_weights_are_refused_in_one_line(weights: dict[Any, Any], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        mix_classes(gaussian_model(classes=True), weights)


def test_an_unconditional_model_has_no_classes_to_mix() -> None:
    with pytest.raises(MinidiffError, match="trained without classes"):
        mix_classes(gaussian_model(), {0: 1.0})


# Batches


def split_batches(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> tuple[Tensor, Tensor]:
    """The last images in one batch, and in batches of two."""
    model = arguments.pop("model")
    whole = torch.cat([last(batch).x for batch in sample_batches(model, 5, **arguments)])
    monkeypatch.setattr(sampling, "BATCH", 2)
    return whole, torch.cat([last(batch).x for batch in sample_batches(model, 5, **arguments)])


@each_path
@pytest.mark.parametrize("edit", ["start", "inpaint", "mix"])
def test_an_edited_image_does_not_depend_on_the_batch_size(
    path: str, edit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 1e-4, since float sums may differ in the last digits."""
    model = colour_model(**PATH_OPTIONS[path])
    images, mask = torch.rand((5, 3, 16, 12), generator=torch.Generator().manual_seed(3)), torch.zeros(16, 12)
    mask[:, 5:] = 1
    arguments: dict[str, Any] = {"labels": [0, 1, 0, 1, 1], "steps": 3, "images": images, "start_t": 0.7}
    if edit == "inpaint":
        arguments["edit"] = inpainting(model, images, mask, 5, resamplings=2)
    elif edit == "mix":
        arguments["edit"] = class_mix(model, {0: 0.5, 1: 0.5})
    whole, split = split_batches(monkeypatch, model=model, **arguments)
    torch.testing.assert_close(whole, split, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampler", ["euler", "ddpm"])
def test_an_image_of_odd_size_does_not_depend_on_the_number_of_images(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9 x 9 x 3 values are no multiple of 16, in which torch draws normal noise."""
    info = DatasetInfo(channels=3, height=9, width=9, class_names=())
    config = TrainConfig(
        dataset_info=info, path="flow", prediction="velocity", class_conditional=False, model="basic_unet",
        channels=(4,), precision="float32",
    )  # fmt: skip
    net = build_model(config.model, generator=torch.Generator().manual_seed(1), **config.model_options).eval()
    model = LoadedModel(net, config, 1, "odd")
    noise = model.noise(5, seed=3)
    assert all(torch.equal(model.noise(n, seed=3), noise[:n]) for n in range(1, 6))
    whole, split = split_batches(monkeypatch, model=model, steps=3, seed=3, sampler=sampler)
    torch.testing.assert_close(whole, split, atol=1e-4, rtol=0)
    single = last(sample(model, n=1, steps=3, seed=3, sampler=sampler)).x
    torch.testing.assert_close(single, whole[:1], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 28, 28), 256), ((3, 32, 32), 256), ((3, 64, 64), 64), ((3, 256, 256), 4)]
)
def test_large_images_are_sampled_in_smaller_batches(shape: tuple[int, int, int], expected: int) -> None:
    assert sampling.batch_size(shape) == expected


# torch's settings


def test_edits_do_not_depend_on_torchs_default_dtype_and_device() -> None:
    model, images = colour_model(), torch.rand((2, 3, 16, 12), generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(16, 12)
    mask[:, 6:] = 1

    def results() -> list[Tensor]:
        return [
            last(inpaint(model, images, mask, steps=2)).x,
            last(sample_with_loss(model, lambda denoised: denoised.square().sum((1, 2, 3)), n=2, steps=2)).x,
            last(mix_classes(model, {0: 0.5, 1: 0.7}, n=2, steps=2)).x,
            last(interpolate_seeds(model, 1, 2, n=2, steps=2)).x,
            last(interpolate_images(model, images[0], images[1], n=2, steps=2)).x,
        ]

    plain = results()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")  # tensors without data, so any leaked one is noticed
    try:
        others = results()
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    for a, b in zip(plain, others, strict=True):
        assert torch.equal(a, b)
