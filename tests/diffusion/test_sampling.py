"""Sampling against a plain version of the tutorial's loop, and the input it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_models import colour_model

from core import BasicUNet, MinidiffError, TrainConfig, build_model, load_dataset, load_model, sample
from core.config.sampling import (
    GUIDED,
    MIN_NOISE_LEVEL,
    SAMPLER_NAMES,
    SHIFT_RANGE,
    Sampling,
    defaults_for,
    evaluations,
    incompatibility,
    is_guided,
    noise_levels,
    resolve_sampling,
)
from core.diffusion import sampling
from core.diffusion.frames import quantized
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.diffusion.sampling import SampleStep, noised, sample_batches
from core.errors import NotFinite


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return BasicUNet(channels=(4, 4)).eval()


def loaded(**options: object) -> LoadedModel:
    """A small time- and class-conditional network with weights that are not zero."""
    config = TrainConfig(**{"model": "patch_unet", "channels": (16, 16), "precision": "float32", **options})
    torch.manual_seed(1)
    net = build_model(config.model, **config.model_options).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1)
    return LoadedModel(net, config, 1, "small")


def plain_loop(net: nn.Module, x: Tensor, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """The tutorial's section 3.6: every state and every prediction."""
    states, predictions = [x], []
    for i in range(steps):
        with torch.no_grad():
            prediction = net(x, 0)
        mix = 1 / (steps - i)
        x = x * (1 - mix) + prediction * mix
        states.append(x)
        predictions.append(prediction)
    return states, predictions


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_steps_match_the_plain_loop(net: nn.Module, steps: int) -> None:
    records = list(sample(net, n=3, steps=steps, seed=5))
    states, predictions = plain_loop(net, records[0].x, steps)
    assert [record.index for record in records] == list(range(steps + 1))
    for record, state in zip(records, states, strict=True):
        torch.testing.assert_close(record.x, state, atol=1e-6, rtol=0)
    assert records[0].prediction is None
    for record, prediction in zip(records[1:], predictions, strict=True):
        assert record.prediction is not None
        torch.testing.assert_close(record.prediction, prediction, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("steps", "start_t"), [(40, 1.0), (7, 1.0), (40, 0.3)])
def test_the_tutorial_recipe_matches_the_plain_loop_bit_for_bit(net: nn.Module, steps: int, start_t: float) -> None:
    start = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    records = list(sample(net, steps=steps, start=start, start_t=start_t))
    states, predictions = plain_loop(net, start, steps)
    assert all(torch.equal(record.x, state) for record, state in zip(records, states, strict=True))
    for record, prediction in zip(records[1:], predictions, strict=True):
        assert record.prediction is not None
        assert torch.equal(record.prediction, prediction)


def test_a_bare_module_is_sampled_as_in_the_tutorial(net: nn.Module) -> None:
    records = list(sample(net, n=2, seed=5))
    assert len(records) == 41
    states, _ = plain_loop(net, torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(5)), 40)
    assert torch.equal(records[-1].x, states[-1])


def test_the_last_state_equals_the_last_prediction(net: nn.Module) -> None:
    *_, last = sample(net, n=2, steps=9)
    assert last.prediction is not None
    assert torch.equal(last.x, last.prediction)


def test_each_step_removes_an_equal_fraction_of_the_noise(net: nn.Module) -> None:
    noise_levels = [record.t for record in sample(net, n=1, steps=4)]
    assert noise_levels == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert noise_levels[-1] == 0


def test_the_same_seed_gives_the_same_images_and_another_seed_different_ones(net: nn.Module) -> None:
    def last(seed: int) -> Tensor:
        return list(sample(net, n=2, steps=2, seed=seed))[-1].x

    assert torch.equal(last(3), last(3))
    assert not torch.equal(last(3), last(4))
    assert not torch.equal(last(-1), last(1))


def test_noise_is_uniform_on_the_cpu_and_does_not_advance_the_global_generator(net: nn.Module) -> None:
    before = torch.random.get_rng_state()
    first = next(sample(net, n=64, seed=7)).x
    assert torch.equal(first, torch.rand((64, 1, 28, 28), generator=torch.Generator().manual_seed(7)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_more_images_of_a_seed_start_with_the_same_ones(net: nn.Module) -> None:
    few, many = (next(sample(net, n=n, seed=1)).x for n in (2, 5))
    assert torch.equal(few, many[:2])


def test_a_start_image_is_denoised_from_its_noise_level(net: nn.Module) -> None:
    start = torch.rand(2, 1, 28, 28)
    kept = start.clone()
    records = list(sample(net, n=99, steps=4, start=start, start_t=0.5))
    assert len(records) == 5
    assert torch.equal(records[0].x, start)
    assert [record.t for record in records] == pytest.approx([0.5, 0.375, 0.25, 0.125, 0])
    torch.testing.assert_close(records[-1].x, plain_loop(net, start, 4)[0][-1], atol=1e-6, rtol=0)
    assert torch.equal(start, kept)


def test_the_grad_mode_of_the_caller_is_unchanged_between_steps(net: nn.Module) -> None:
    for record in sample(net, n=1, steps=2):
        assert torch.is_grad_enabled()
        assert not record.x.requires_grad
    with torch.no_grad():
        for _ in sample(net, n=1, steps=2):
            assert not torch.is_grad_enabled()


def test_a_model_that_wraps_its_output_is_supported() -> None:
    class Wrapping(nn.Module):
        def forward(self, x: Tensor, timestep: int) -> object:
            return type("Result", (), {"sample": x * 0 + 0.25})

    *_, last = sample(Wrapping(), n=1, steps=3)
    assert torch.equal(last.x, torch.full((1, 1, 28, 28), 0.25))


def test_a_loaded_model_matches_its_bare_network(finished_run: Path) -> None:
    loaded = load_model(finished_run, device="cpu")
    *_, a = sample(loaded, n=2, steps=3, seed=1)
    *_, b = sample(loaded.net, n=2, steps=3, seed=1)
    assert torch.equal(a.x, b.x)


def test_the_network_is_called_at_timestep_0_once_per_step() -> None:
    timesteps = []

    class Listening(nn.Module):
        def forward(self, x: Tensor, timestep: object) -> Tensor:
            timesteps.append(timestep)
            return x

    list(sample(Listening(), n=1, steps=5))
    assert timesteps == [0] * 5


@pytest.mark.parametrize("path", ["mix", "flow", "vp"])
@pytest.mark.parametrize("sampler", [None, *SAMPLER_NAMES, "diffusers:UniPCMultistepScheduler"])
def test_every_compatible_sampler_gives_images_near_the_unit_range(path: str, sampler: str | None) -> None:
    prediction = "v" if path == "vp" else "clean"
    model = loaded(path=path, prediction=prediction)
    if sampler is not None and (reason := incompatibility(sampler, path)):
        with pytest.raises(MinidiffError) as error:
            sample(model, n=1, sampler=sampler)
        assert str(error.value) == reason
        return
    records = list(sample(model, n=3, steps=4, sampler=sampler))
    assert [record.t for record in records] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert [record.index for record in records] == list(range(5))
    source = PATHS[path].sample_noise((3, 1, 28, 28), torch.Generator().manual_seed(0))
    torch.testing.assert_close(records[0].x, PATHS[path].denormalize(source), atol=1e-6, rtol=0)
    for record in records[1:]:
        assert record.prediction is not None
        assert bool(torch.isfinite(record.x).all())
        assert record.x.shape == record.prediction.shape == (3, 1, 28, 28)


@pytest.mark.parametrize("path", ["mix", "flow", "vp"])
def test_a_perfect_network_gives_its_image_on_every_path(path: str) -> None:
    image = torch.rand(28, 28, generator=torch.Generator().manual_seed(4))

    class Knowing(nn.Module):
        def forward(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
            return PATHS[path].normalize(image).expand_as(x)

    model = LoadedModel(Knowing(), TrainConfig(path=path, prediction="clean", precision="float32"), 1, "knowing")
    for sampler in SAMPLER_NAMES:
        if incompatibility(sampler, path) is None:
            *_, last = sample(model, n=2, steps=6, sampler=sampler, contrast=0.0)
            assert last.prediction is not None
            torch.testing.assert_close(last.prediction, image.expand_as(last.prediction), atol=1e-6, rtol=0)
            exact = path != "vp" or sampler in ("mix", "ddpm", "ddim", "dpm2m")  # others treat its last step as linear
            torch.testing.assert_close(last.x, image.expand_as(last.x), atol=1e-5 if exact else 0.25, rtol=0)


def test_a_start_image_is_converted_to_the_range_of_the_path_and_back() -> None:
    first, *_ = sample(loaded(), steps=2, start=START, start_t=0.4)
    torch.testing.assert_close(first.x, START, atol=1e-6, rtol=0)
    assert first.t == 0.4


def test_classes_cycle_by_default_matter_and_can_be_chosen() -> None:
    model = loaded()

    def last(labels: object, n: int = 12) -> Tensor:
        return list(sample(model, n=n, steps=2, labels=labels))[-1].x  # type: ignore[arg-type]

    turn = last(None)
    assert torch.equal(turn, last([*range(10), 0, 1]))
    assert torch.equal(turn, last(torch.tensor([*range(10), 0, 1])))
    seven, none = last(7), last(-1)
    torch.testing.assert_close(seven[7], turn[7], atol=1e-5, rtol=0)
    assert not torch.allclose(seven[0], turn[0], atol=1e-3)
    assert not torch.allclose(none[0], turn[0], atol=1e-3)
    assert torch.equal(none, last([-1] * 12))


def test_guidance_extrapolates_from_the_null_class_to_the_class() -> None:
    model = loaded()
    start = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    way = {"start": start, "start_t": 0.6, "steps": 1, "sampler": "euler"}
    free, plain, strong = (
        list(sample(model, labels=label, guidance=guidance, **way))[-1].x
        for label, guidance in ((-1, 1.0), (3, 1.0), (3, 2.5))
    )
    torch.testing.assert_close(strong, free + 2.5 * (plain - free), atol=1e-5, rtol=0)


class Shade(nn.Module):
    """Predicts one gray level for every image: a tenth of its class, or 0 without one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        shade = torch.zeros(len(x)) if labels is None else labels.float() / 10
        return shade.view(-1, 1, 1, 1).expand_as(x) + self.weight


@pytest.mark.parametrize(("classes", "shade", "average"), [(True, 0.9, 0.45), (False, 0.0, 0.0)])
def test_contrast_extrapolates_from_the_velocity_of_the_mean_image(classes: bool, shade: float, average: float) -> None:
    config = TrainConfig(path="flow", prediction="clean", class_conditional=classes, precision="float32")
    model = LoadedModel(Shade().eval(), config, 1, "shade")
    start = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(1))
    way = {"start": start, "start_t": 0.6, "steps": 1, "sampler": "euler", "guidance": 1.0}
    asked = {"labels": 9} if classes else {}
    x = 2 * start - 1
    velocity = (x - shade) / 0.6
    pushed = velocity + 0.2 * (velocity - (0 - average))  # noise - image, on average
    last = list(sample(model, contrast=0.2, **way, **asked))[-1]
    torch.testing.assert_close(2 * last.x - 1, x - 0.6 * pushed, atol=1e-5, rtol=0)
    plain = list(sample(model, contrast=0.0, **way, **asked))[-1]
    torch.testing.assert_close(2 * plain.x - 1, torch.full_like(x, shade), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"path": "vp", "prediction": "v"}, "contrast needs the path flow, not vp; leave it at 0"),
        ({"path": "mix", "prediction": "clean"}, "not mix"),
        ({"path": "flow", "prediction": "noise"}, "not the noise"),
    ],
)
def test_contrast_is_refused_and_not_a_default_where_it_does_not_apply(options: dict[str, str], words: str) -> None:
    config = TrainConfig(**options)
    assert defaults_for(config).contrast == 0
    with pytest.raises(MinidiffError, match=words):
        resolve_sampling(config, 2, contrast=0.1)


def test_shift_puts_more_steps_near_the_noise() -> None:
    falling = [record.t for record in sample(loaded(), n=1, steps=4, shift=3)]
    assert falling == pytest.approx([3 * u / (1 + 2 * u) for u in (1, 0.75, 0.5, 0.25, 0)])
    assert noise_levels(3) == [1 - 0 / 3, 1 - 1 / 3, 1 - 2 / 3, 0]
    assert noise_levels(2, 1.0, 0.5) == [0.5, 0.25, 0]


@pytest.mark.parametrize("sampler", ["ddpm", "diffusers:EulerAncestralDiscreteScheduler"])
def test_noise_added_during_sampling_depends_on_the_seed_but_not_on_n(sampler: str) -> None:
    model = loaded(path="vp", prediction="v")

    def last(n: int, seed: int) -> Tensor:
        return list(sample(model, n=n, steps=3, sampler=sampler, seed=seed))[-1].x

    torch.testing.assert_close(last(5, 1)[:2], last(2, 1), atol=1e-5, rtol=0)
    assert torch.equal(last(2, 1), last(2, 1))
    assert not torch.allclose(last(2, 1), last(2, 2), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "path", "prediction"),
    [({"preset": "tutorial"}, "mix", "clean"), ({}, "flow", "velocity"), ({}, "vp", "v"), ({}, "mix", "noise")],
)
def test_the_default_options_of_a_model_fit_its_path(options: dict[str, str], path: str, prediction: str) -> None:
    config = TrainConfig(**options, path=path, prediction=prediction)
    defaults = defaults_for(config)
    assert incompatibility(defaults.sampler, path) is None
    assert resolve_sampling(config, 2) == (defaults, (0, 1) if config.class_conditional else None)
    if path == "mix":
        assert defaults == Sampling("mix", 40, 1.0, 1.0)


def test_the_null_class_needs_no_guidance() -> None:
    config = TrainConfig(path="flow", prediction="velocity")
    assert resolve_sampling(config, 2, guidance=3.0, labels=-1)[0].guidance == 1
    assert resolve_sampling(config, 2, guidance=3.0, labels=[-1, 4])[0].guidance == 3


@pytest.mark.parametrize(
    ("sampler", "steps", "guidance", "path", "asked"),
    [
        ("euler", 16, 1, "flow", 16),
        ("euler", 12, 2, "flow", 16),  # twice at 6, 7, 8 and 9 twelfths
        ("dpm2m", 6, 1.5, "flow", 8),  # twice at 3 and 4 sixths
        ("euler", 10, 2, "vp", 13),  # twice at 3, 4 and 5 tenths
        ("heun", 16, 1, "flow", 31),
        ("heun", 2, 1.5, "flow", 5),  # at 1, twice at a half, and there again
        ("diffusers:HeunDiscreteScheduler", 16, 1, "vp", 31),
        ("diffusers:DDIMScheduler", 16, 1, "vp", 16),
    ],
)
def test_evaluations_include_second_order_steps_and_guidance(
    sampler: str, steps: int, guidance: float, path: str, asked: int
) -> None:
    assert evaluations(Sampling(sampler, steps, guidance, 1.0), path) == asked


@pytest.mark.parametrize("path", ["mix", "flow", "vp"])
def test_guidance_is_applied_while_the_noise_to_signal_ratio_is_1_to_4(path: str) -> None:
    low, high = GUIDED[path]
    assert PATHS[path].half_log_snr(low) == pytest.approx(0, abs=2e-3)
    assert PATHS[path].half_log_snr(high) == pytest.approx(-math.log(4), abs=2e-3)
    assert [is_guided(path, t) for t in (low - 0.01, low, high, high + 0.01)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "hein"}, "did you mean heun"),
        ({"sampler": "xyz"}, "no sampler 'xyz'; choose one of: mix"),
        ({"sampler": "diffusers:NothingScheduler"}, "NothingScheduler is not tested on the path"),
        ({"sampler": "diffusers:FlowMatchNothingScheduler"}, "FlowMatchNothingScheduler is not tested on"),
        ({"guidance": -1.0}, "guidance must be a number from 0"),
        ({"guidance": float("nan")}, "guidance must be"),
        ({"guidance": float("inf")}, "guidance must be"),
        ({"shift": 0.0}, "shift must be a number from 0.001 to 1000, not 0"),
        ({"shift": 1e-300}, "shift must be a number from 0.001 to 1000, not 1e-300"),
        ({"shift": 1e300}, "shift must be"),
        ({"shift": float("nan")}, "shift must be"),
        ({"shift": float("inf")}, "shift must be"),
        ({"contrast": -0.1}, "contrast must be a number from 0"),
        ({"contrast": float("nan")}, "contrast must be"),
        ({"labels": 10}, "from 0 to 9, or -1 for any, not 10"),
        ({"labels": -2}, "not -2"),
        ({"labels": [1, 2, 3]}, "2 images need 2 labels, not 3"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(MinidiffError, match=words) as error:
        sample(loaded(), n=2, **options)  # type: ignore[arg-type]
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("options", [{"labels": 3}, {"labels": -1}, {"guidance": 2.0}])
def test_labels_for_an_unconditional_model_are_an_error(net: nn.Module, options: dict[str, object]) -> None:
    for model in (net, loaded(class_conditional=False)):
        with pytest.raises(MinidiffError, match="without classes"):
            sample(model, n=2, **options)  # type: ignore[arg-type]


START = torch.rand(2, 1, 28, 28)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"steps": -4}, "steps must be at least 1, not -4"),
        ({"n": 0}, "n must be at least 1"),
        ({"n": -1}, "n must be at least 1"),
        ({"start": START, "start_t": 0.0}, "start_t"),
        ({"start": START, "start_t": 1.5}, "start_t"),
        ({"start": START, "start_t": float("nan")}, "start_t"),
        ({"start_t": 0.5}, "pass `start` too"),
        ({"start": START[0]}, "shape"),
        ({"start": START[:0]}, "shape"),
        ({"start": torch.rand(2, 3, 28, 28)}, "shape"),
        ({"start": torch.rand(2, 1, 32, 32)}, "shape"),
        ({"start": (START * 255).byte()}, "divide bytes by 255"),
    ],
)
def test_invalid_input_is_refused_before_the_first_step(net: nn.Module, options: dict[str, object], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        sample(net, **options)  # type: ignore[arg-type]


def test_out_of_memory_suggests_fewer_images() -> None:
    class Greedy(nn.Module):
        def forward(self, x: Tensor, timestep: int) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(MinidiffError, match="smaller n"):
        list(sample(Greedy(), n=1, steps=1))


def test_other_errors_of_a_network_are_not_hidden() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor, timestep: int) -> Tensor:
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        list(sample(Wrong(), n=1, steps=1))


def test_sampling_is_a_generator_that_can_be_closed(net: nn.Module) -> None:
    iterator: Iterator[SampleStep] = sample(net, n=1, steps=1000)
    next(iterator)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]


# Start images and noise

PATH_OPTIONS = {
    "mix": {"path": "mix", "prediction": "clean"},
    "flow": {},
    "vp": {"path": "vp", "prediction": "v"},
}
each_path = pytest.mark.parametrize("path", PATH_OPTIONS)


def digits(n: int = 4) -> Tensor:
    return load_dataset("glyphs", split="test", limit=n).images.float() / 255


@each_path
def test_the_noise_of_a_model_is_what_a_seed_starts_from(path: str) -> None:
    model = loaded(**PATH_OPTIONS[path])
    noise = model.noise(3, seed=7)
    assert torch.equal(PATHS[path].denormalize(noise), next(sample(model, n=3, seed=7)).x)
    whole, supplied = (list(sample(model, n=3, steps=3, seed=7, **options))[-1].x for options in ({}, {"noise": noise}))
    assert torch.equal(whole, supplied)
    *_, last = sample(model, steps=3, seed=7, noise=noise.numpy())
    assert torch.equal(last.x, whole)


@each_path
@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 1.0])
def test_noised_images_of_any_type_are_accepted_as_a_start(path: str, t: float) -> None:
    model = loaded(**PATH_OPTIONS[path])
    for images in (digits(), torch.zeros(50, 1, 28, 28), torch.ones(50, 1, 28, 28), torch.rand(50, 1, 28, 28)):
        for seed in range(5):
            next(sample(model, start=noised(model, images, t, seed), start_t=t))


@each_path
@pytest.mark.parametrize("t", [0.1, 0.6, 1.0])
def test_a_start_outside_the_range_is_refused_with_the_expected_range(path: str, t: float) -> None:
    model, normal = loaded(**PATH_OPTIONS[path]), torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for start in (normal, digits() * 255, digits() * 255 - 127, digits() * torch.nan, digits() + 5, normal * 1e30):
        with pytest.raises(MinidiffError, match=r"start has values from .* not images in \[0, 1\]") as caught:
            sample(model, start=start, start_t=t)
        assert "core.diffusion.sampling.noised" in str(caught.value)


@each_path
@pytest.mark.parametrize("t", [0.1, 0.6, 1.0])
def test_a_start_of_a_colour_model_is_refused_with_the_range_or_the_channels_it_has(path: str, t: float) -> None:
    model = colour_model(**PATH_OPTIONS[path])
    images = torch.rand(2, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    next(sample(model, start=noised(model, images, t), start_t=t))
    normal = torch.randn(2, 3, 16, 12, generator=torch.Generator().manual_seed(0))
    for start, words in (
        (images * 255, rf"start has values from {(images * 255).min():g} to {(images * 255).max():g}"),
        (normal, rf"start has values from {normal.min():g} to {normal.max():g}.* or pass noise"),
        ((images * 255).byte(), "not torch.uint8 from 0 to 25[0-9]; divide bytes by 255"),
        (images[:, :1], r"start needs shape \(n, 3, 16, 12\), not \(2, 1, 16, 12\); .* RGB, with 3 channels"),
        (images.permute(0, 2, 3, 1), r"not \(2, 16, 12, 3\); move the channels with permute\(0, 3, 1, 2\)"),
    ):
        with pytest.raises(MinidiffError, match=words) as caught:
            sample(model, start=start, start_t=t)
        assert len(str(caught.value).splitlines()) == 1


@each_path
def test_noise_of_another_distribution_is_refused_with_the_expected_one(path: str) -> None:
    model = loaded(**PATH_OPTIONS[path])
    normal, uniform = torch.randn(4, 1, 28, 28), torch.rand(4, 1, 28, 28)
    right, wrong, words = (
        (uniform, normal, r"uniform in \[0, 1\)") if path == "mix" else (normal, uniform, "standard normal")
    )
    next(sample(model, noise=right))
    next(sample(model, noise=right * 0.8))  # a lower temperature is allowed
    for noise in (wrong, right * 2, right * torch.inf, right + 1):
        with pytest.raises(MinidiffError, match=words):
            sample(model, noise=noise)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"noise": torch.randn(2, 3, 28, 28)}, r"noise needs shape \(n, 1, 28, 28\)"),
        ({"noise": torch.randn(2, 28, 28)}, r"noise needs shape \(n, 1, 28, 28\)"),
        ({"noise": torch.zeros(2, 1, 28, 28, dtype=torch.int64)}, "noise needs floating-point values"),
        ({"noise": [0.0]}, "noise must be a tensor or a NumPy array, not list"),
        ({"start": "noise"}, "start must be a tensor or a NumPy array, not str"),
        ({"noise": torch.randn(2, 1, 28, 28), "start": torch.rand(2, 1, 28, 28)}, "pass only one of them"),
        ({"noise": torch.randn(2, 1, 28, 28), "start_t": 0.5}, "pass `start` too"),
        ({"start": torch.rand(2, 1, 28, 28), "start_t": 1e-300}, r"start_t must lie in \[0.0001, 1\]"),
        ({"start": torch.rand(2, 1, 28, 28), "start_t": "half"}, "start_t must be a number"),
        ({"n": 8.5}, "n must be a whole number, not 8.5"),
        ({"n": True}, "n must be a whole number, not True"),
        ({"n": 10**12}, "n must be at most 100,000, not 1,000,000,000,000"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"labels": True}, "a class must be a whole number, not True"),
        ({"labels": 7.5}, "a class must be a whole number"),
        ({"labels": [1, False]}, "a class must be a whole number"),
        ({"labels": "73"}, "a class must be a whole number, not '7'"),
        ({"labels": torch.tensor([True, False])}, "a class must be a whole number"),
        ({"guidance": "2"}, "guidance must be a number"),
        ({"guidance": True}, "guidance must be a number"),
        ({"sampler": 5}, "sampler must be a name, not int"),
    ],
)
def test_invalid_values_are_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MinidiffError, match=words) as caught:
        sample(loaded(), **{"n": 2, **options})
    assert len(str(caught.value).splitlines()) == 1


def test_numbers_of_other_types_and_arrays_give_the_same_result() -> None:
    model, start = loaded(), noised(loaded(), digits(2), 0.5, 1)
    plain = {"n": 2, "steps": 2, "seed": 3, "labels": [7, 1], "guidance": 2.0, "start": start, "start_t": 0.5}
    others = {"n": np.int32(2), "steps": 2.0, "seed": np.int64(3), "labels": np.array([7.0, 1.0])}
    others |= {"guidance": np.float32(2), "start": start.double().numpy(), "start_t": torch.tensor(0.5)}
    expected = list(sample(model, **plain))[-1].x  # type: ignore[arg-type]
    for name, value in others.items():
        *_, last = sample(model, **{**plain, name: value})  # type: ignore[arg-type]
        torch.testing.assert_close(last.x, expected, atol=1e-6, rtol=0)
    seven = [list(sample(model, n=2, steps=1, labels=label))[-1].x for label in (7, 7.0, np.array(7), torch.tensor(7))]
    assert all(torch.equal(one, seven[0]) for one in seven)


# Extremes


@each_path
@pytest.mark.parametrize("shift", SHIFT_RANGE)
@pytest.mark.parametrize("steps", [1, 12])
def test_extreme_shifts_give_decreasing_noise_levels_and_finite_images(path: str, shift: float, steps: int) -> None:
    falling = noise_levels(steps, shift)
    assert all(before > after for before, after in pairwise(falling))
    model = loaded(**PATH_OPTIONS[path])
    for sampler in SAMPLER_NAMES:
        if incompatibility(sampler, path) is None:
            *_, last = sample(model, n=1, steps=steps, shift=shift, sampler=sampler)
            assert bool(last.x.isfinite().all())


@each_path
def test_the_lowest_start_noise_level_gives_finite_images(path: str) -> None:
    model = loaded(**PATH_OPTIONS[path])
    for sampler in SAMPLER_NAMES:
        if incompatibility(sampler, path) is None:
            *_, last = sample(model, start=digits(2), start_t=MIN_NOISE_LEVEL, steps=20, shift=0.001, sampler=sampler)
            assert bool(last.x.isfinite().all())


@pytest.mark.parametrize("options", [{"guidance": 1e300}, {"contrast": 1e300}])
def test_non_finite_samples_are_an_error_instead_of_the_last_step(options: dict[str, float]) -> None:
    yielded = []
    with pytest.raises(NotFinite, match=r"the samples are not finite \(dpm2m, 6 steps"):
        for step in sample(loaded(), n=2, steps=6, **options):  # type: ignore[arg-type]
            yielded.append(step)
    assert len(yielded) == 6


def test_non_finite_values_are_never_made_into_an_image() -> None:
    with pytest.raises(NotFinite):
        quantized(torch.tensor([0.5, math.nan]).view(1, 1, 1, 2))
    assert quantized(torch.tensor([-1.0, 0.5, 2.0]).view(1, 1, 1, 3)).flatten().tolist() == [0, 128, 255]


# Batches


@each_path
@pytest.mark.parametrize("sampler", ["euler", "ddpm", "diffusers"])
def test_images_do_not_depend_on_the_batch_size(path: str, sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise is the same, but float sums may differ in the last digits, so within 1e-4."""
    if sampler == "diffusers":
        sampler += ":EulerAncestralDiscreteScheduler" if path == "vp" else ":FlowMatchEulerDiscreteScheduler"
    if incompatibility(sampler, path):
        pytest.skip("it does not fit the path")
    model, labels = loaded(**PATH_OPTIONS[path]), [3, 1, 4, 1, 5, 9, 2]
    options: dict[str, Any] = {"seed": 5, "steps": 3, "sampler": sampler, "labels": labels}
    whole = list(sample(model, n=7, **options))
    monkeypatch.setattr(sampling, "BATCH", 3)
    split = list(sample(model, n=7, **options))
    batches = [list(batch) for batch in sample_batches(model, 7, **options)]
    assert [len(batch[0].x) for batch in batches] == [3, 3, 1]
    for index, step in enumerate(whole):
        parts = [batch[index] for batch in batches]
        for other in (split[index], replace(parts[0], x=torch.cat([part.x for part in parts]))):
            assert (other.index, other.t) == (step.index, step.t)
            torch.testing.assert_close(other.x, step.x, atol=1e-4, rtol=0)
        if step.prediction is not None:
            assert split[index].prediction is not None
            torch.testing.assert_close(split[index].prediction, step.prediction, atol=1e-4, rtol=0)
        else:
            assert split[index].prediction is None


def test_the_network_never_gets_more_than_a_batch_of_images(net: nn.Module) -> None:
    sizes = []

    class Counting(nn.Module):
        def forward(self, x: Tensor, timestep: object) -> Tensor:
            sizes.append(len(x))
            return x

    *_, last = sample(Counting(), n=600, steps=1)
    assert len(last.x) == 600
    assert sizes == [256, 256, 88]


def test_a_start_of_many_images_is_split_with_its_classes() -> None:
    model, labels = loaded(), torch.arange(300) % 10
    start = noised(model, digits(300), 0.5)
    *_, last = sample(model, steps=1, start=start, start_t=0.5, labels=labels)
    *_, few = sample(model, steps=1, start=start[290:], start_t=0.5, labels=labels[290:])
    torch.testing.assert_close(last.x[290:], few.x, atol=1e-4, rtol=0)
