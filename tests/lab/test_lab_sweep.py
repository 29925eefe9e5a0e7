"""The sweep over noise levels: end points, coefficients, and agreement with sampling."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor

from core import BasicUNet, MinidiffError, build_model, corruption_sweep, load_model, sample
from core.config.training import PREDICTIONS, TrainConfig
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.diffusion.sampling import noised
from core.lab import one_step

NOISE_LEVELS = (0.0, 0.3, 0.75, 1.0)
PAIRS = [(path, prediction) for path, predictions in PREDICTIONS.items() for prediction in predictions]
each_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand((1, 28, 28), generator=torch.Generator().manual_seed(5))


def small(path: str, prediction: str, *, classes: bool = True) -> LoadedModel:
    """An untrained network with non-zero weights, so that every input has an effect."""
    torch.manual_seed(0)
    net = build_model("patch_unet", channels=(16, 16))
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    config = TrainConfig(
        path=path, prediction=prediction, class_conditional=classes, channels=(16, 16), precision="float32"
    )
    return LoadedModel(net.eval(), config, 0, "small")


@each_path
def test_t_0_is_the_image_and_t_1_contains_none_of_it(path: str, image: Tensor) -> None:
    first, *_, last = corruption_sweep(BasicUNet(channels=(4,)), image, NOISE_LEVELS, path=path)
    *_, other = corruption_sweep(BasicUNet(channels=(4,)), 1 - image, NOISE_LEVELS, path=path)
    torch.testing.assert_close(first.x, image, rtol=0, atol=1e-6)
    apart = (last.x - other.x).abs().max().item()
    assert apart == pytest.approx(0, abs=1e-6) if path != "vp" else 0.004 < apart < 0.007  # vp keeps a signal of 0.0066


@each_path
def test_coefficients_come_from_the_path_and_the_noise_is_the_same_at_every_level(path: str, image: Tensor) -> None:
    prob_path = PATHS[path]
    points = list(corruption_sweep(BasicUNet(channels=(4,)), image, NOISE_LEVELS, path=path, seed=3))
    assert [(point.t, point.alpha, point.sigma) for point in points] == [
        (a, *prob_path.alpha_sigma(a)) for a in NOISE_LEVELS
    ]
    noise = prob_path.sample_noise((1, 28, 28), torch.Generator().manual_seed(3))
    for point in points:
        expected = prob_path.denormalize(prob_path.normalize(image) * point.alpha + noise * point.sigma)
        torch.testing.assert_close(point.x, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("path", "prediction"), PAIRS)
def test_predictions_match_sampling(path: str, prediction: str, image: Tensor) -> None:
    """Compares with the first sampling step from the same start, without guidance or contrast."""
    model = small(path, prediction)
    for point in corruption_sweep(model, image, NOISE_LEVELS[1:], label=4, seed=1):
        start = noised(model, image[None], point.t, seed=1)
        torch.testing.assert_close(point.x, start[0], rtol=0, atol=1e-6)
        options = {"guidance": 1.0, "contrast": 0.0 if path == "flow" else None}
        trajectory = sample(model, steps=1, start=start, start_t=point.t, labels=4, **options)
        expected = list(trajectory)[1].prediction
        assert point.prediction is not None
        assert expected is not None
        torch.testing.assert_close(point.prediction, expected[0], rtol=1e-3, atol=1e-4)
        assert point.error == pytest.approx((point.prediction - image).square().mean().item(), rel=1e-6)


def test_a_trajectory_matches_sampling(image: Tensor) -> None:
    model = small("flow", "velocity")
    still, moved = corruption_sweep(model, image, (0.0, 0.6), label=2, seed=1, steps=3)
    *_, last = sample(model, steps=3, seed=1, start=moved.x[None], start_t=0.6, labels=2)
    assert moved.sampled is not None
    assert torch.equal(moved.sampled, last.x[0])
    assert moved.sampled_error == pytest.approx((last.x[0] - image).square().mean().item())
    assert still.sampled is not None
    assert torch.equal(still.sampled, still.x)


def test_on_another_path_there_are_no_predictions(image: Tensor) -> None:
    for point in corruption_sweep(small("flow", "velocity"), image, NOISE_LEVELS, path="vp"):
        assert point.prediction is point.error is point.sampled is point.sampled_error is None


def test_a_batch_gives_the_same_result_as_single_images(image: Tensor) -> None:
    model = small("flow", "velocity")
    points = list(corruption_sweep(model, image, NOISE_LEVELS, label=7))
    for point in points:
        assert point.prediction is not None
        alone = one_step(model, point.x[None], point.t, 7)[0]
        torch.testing.assert_close(point.prediction, alone, rtol=0, atol=1e-5)


def test_a_label_changes_the_prediction_and_none_is_the_null_class(image: Tensor) -> None:
    model, x = small("flow", "velocity"), image[None]
    assert torch.equal(one_step(model, x, 0.5), one_step(model, x, 0.5, -1))
    assert not torch.equal(one_step(model, x, 0.5), one_step(model, x, 0.5, 3))


def test_the_error_of_the_shipped_model_grows_with_the_noise_level() -> None:
    from core import load_dataset

    digit = load_dataset("glyphs", split="test", limit=1).images[0] / 255
    points = list(corruption_sweep(load_model("default-mnist", device="cpu"), digit, (0.1, 0.5, 0.9), steps=4))
    errors = [point.error for point in points if point.error is not None]
    assert errors == sorted(errors)
    assert errors[0] < 0.01
    assert len(errors) == len([point.sampled for point in points if point.sampled is not None]) == 3


def test_a_curve_of_21_points_takes_milliseconds(image: Tensor) -> None:
    model, threads = load_model("default-mnist", device="cpu"), torch.get_num_threads()
    seconds = []
    torch.set_num_threads(1)
    try:
        for _ in range(6):
            began = time.perf_counter()
            assert len(list(corruption_sweep(model, image, [i / 20 for i in range(21)]))) == 21
            seconds.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    assert min(seconds) < 0.06


def test_no_noise_levels_give_no_points(image: Tensor) -> None:
    assert list(corruption_sweep(BasicUNet(channels=(4,)), image, ())) == []


def test_invalid_input_is_refused_at_the_call(image: Tensor) -> None:
    bare, conditional = BasicUNet(channels=(4,)), small("flow", "velocity")
    for call, words in (
        (lambda: corruption_sweep(bare, image[None], NOISE_LEVELS), "one image of shape \\(1, 28, 28\\)"),
        (lambda: corruption_sweep(bare, (image * 255).byte(), NOISE_LEVELS), "of torch.uint8"),
        (lambda: corruption_sweep(bare, image, (0.5, 1.5)), "found 1.5"),
        (lambda: corruption_sweep(bare, image, NOISE_LEVELS, path="flaw"), "did you mean flow"),
        (lambda: corruption_sweep(bare, image, NOISE_LEVELS, path="vp", steps=4), "samples on the path mix, not vp"),
        (lambda: corruption_sweep(bare, image, NOISE_LEVELS, steps=0), "steps must be at least 1"),
        (lambda: corruption_sweep(bare, image, NOISE_LEVELS, label=3), "without classes"),
        (lambda: corruption_sweep(conditional, image, NOISE_LEVELS, label=10), "a class must be a number from 0 to 9"),
    ):
        with pytest.raises(MinidiffError, match=words):
            call()
