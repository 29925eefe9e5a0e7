"""Evaluation: its results, its separation of real images from noise, and the input it refuses before any work."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core import BasicUNet, MinidiffError, TrainConfig, load_dataset
from core.config.sampling import Sampling
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.sampling import sample
from core.evaluation import feature_classifiers, scores
from core.evaluation.feature_nets import SHAPES
from core.evaluation.reference import EvaluationProgress, Reference, prepare
from core.evaluation.scores import Evaluation, evaluate, measure
from core.generators import result_of
from core.runs.events import Warned

LIMIT, VALIDATION = 360, 60  # images of each split; a sixth of the training images are for validation


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """An untrained network with the config of a run on a few glyphs."""
    torch.manual_seed(0)
    config = TrainConfig(preset="quick", dataset="glyphs", channels=(4, 4), device="cpu")
    return LoadedModel(BasicUNet(channels=(4, 4)).eval(), config, 0, "untrained")


@pytest.fixture(scope="module")
def reference(_user: Path) -> Reference:
    """Glyphs and their classifiers, shared by the tests of this file through the cache."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(_user / "cache"))
        return result_of(prepare("glyphs", limit=LIMIT))


def last(steps: Iterable[Any]) -> Evaluation:
    *_, result = steps
    assert isinstance(result, Evaluation)
    return result


def noise(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)


# Results


def test_an_evaluation_yields_its_progress_and_then_its_result(model: LoadedModel, reference: Reference) -> None:
    *steps, result = evaluate(model, 40, steps=2, seed=3, limit=LIMIT)
    assert isinstance(result, Evaluation)
    warnings = [step.message for step in steps if isinstance(step, Warned)]  # few images make poor classifiers
    weak = [shape for shape in SHAPES if not reference.classifiers[shape].usable]
    assert [f"the {shape} classifier for glyphs, trained on 300 images, has" for shape in weak] == [
        message[: message.index(" has") + 4] for message in warnings
    ]
    steps = [step for step in steps if not isinstance(step, Warned)]
    assert all(isinstance(step, EvaluationProgress) and 0 < step.done <= step.total for step in steps)
    assert list(dict.fromkeys(step.doing for step in steps)) == [
        "sampling",
        *(f"classifying {what} ({shape})" for shape in ("conv", "mlp") for what in ("samples", "real images")),
        "classifying training images (conv)",
        *(f"looking for the nearest training images in {space}" for space in ("pixels", "features")),
    ]
    assert {step.doing: step.done for step in steps} == {step.doing: step.total for step in steps}
    assert (result.model, result.dataset, result.n, result.sampling) == (
        "untrained",
        "glyphs",
        40,
        "mix, 2 steps, 2 evaluations each, seed 3",
    )
    assert result.seconds > 0
    for shape in SHAPES:
        assert result.accuracy[shape] == reference.classifiers[shape].accuracy
        assert result.sha256[shape] == reference.classifiers[shape].sha256
        assert result.samples[shape].agreement is None
        assert sum(result.samples[shape].classes) == sum(result.baseline[shape].classes) == 40


def test_an_evaluation_is_reproducible_and_plain_json(model: LoadedModel, reference: Reference) -> None:
    def scores(seed: int) -> dict[str, Any]:
        result = dataclasses.asdict(last(evaluate(model, 10, steps=1, seed=seed, limit=LIMIT)))
        assert json.loads(json.dumps(result))["samples"]["mlp"]["frechet"] == result["samples"]["mlp"]["frechet"]
        return {key: value for key, value in result.items() if key not in ("seconds", "sampling")}

    assert scores(0) == scores(0)
    assert scores(0)["samples"] != scores(1)["samples"]


def test_classifiers_are_trained_once_and_report_progress(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_classifiers, "MIN_STEPS", 1)

    def messages() -> set[str]:
        return {step.doing for step in evaluate(model, 2, steps=1, limit=24) if isinstance(step, EvaluationProgress)}

    training = {f"training the {shape} classifier for glyphs" for shape in SHAPES}
    assert training <= messages()
    assert not training & messages()


def test_classifiers_trained_on_few_images_give_a_warning(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(feature_classifiers, "MIN_STEPS", 1)
    warned = [step.message for step in evaluate(model, 2, steps=1, limit=24) if isinstance(step, Warned)]
    assert len(warned) == 2
    assert all("trained on 20 images, has a test accuracy" in message and "--limit" in message for message in warned)
    for shape in SHAPES:  # and afterwards without progress
        assert feature_classifiers.available_classifier(shape, "glyphs") is None


def test_samples_are_the_output_of_the_sampler_as_uint8(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "BATCH", 4)
    parts = list(scores.sample_uint8(model, 10, None, Sampling("mix", 2, 1.0, 1.0), 5))
    assert [len(part) for part in parts] == [4, 4, 2]
    for index, part in enumerate(parts):
        *_, end = sample(model, n=len(part), steps=2, seed=5 + index)
        assert part.dtype == torch.uint8
        assert float((part.float() / 255 - end.x.clamp(0, 1)).abs().max()) <= 0.5 / 255 + 1e-6


# Scores


def test_real_images_score_like_the_baseline_and_noise_far_worse(reference: Reference) -> None:
    real = last(measure(reference.test.images[:VALIDATION], reference.test.labels[:VALIDATION], reference, "real"))
    noise_scores = last(measure(noise(VALIDATION), None, reference, "noise"))
    for shape in SHAPES:
        baseline, near, far = real.baseline[shape], real.samples[shape], noise_scores.samples[shape]
        assert noise_scores.baseline[shape] == baseline
        assert near.frechet < 2 * baseline.frechet  # with so few images in so many dimensions the baseline is high
        assert far.frechet > 5 * baseline.frechet
        assert abs(near.kernel) < far.kernel / 10
        assert abs(baseline.kernel) < far.kernel / 10
        assert near.precision == 1  # they are part of the reference images
        assert baseline.precision > 0.5
        assert far.precision < near.precision  # how much depends on the classifier, and that on the CPU
        assert far.recall < 0.1 < baseline.recall
        for result in (baseline, near, far):
            assert sum(result.classes) == VALIDATION
            assert 0.1 <= result.confidence <= 1


def test_the_baseline_uses_images_that_no_classifier_was_trained_on(reference: Reference) -> None:
    learned, validation = feature_classifiers.split(LIMIT)
    assert len(reference.validation.images) == len(validation) == VALIDATION
    data = load_dataset("glyphs", limit=LIMIT)
    assert torch.equal(reference.validation.images, data.images[validation])
    assert torch.equal(reference.validation.labels, data.labels[validation])
    assert not set(learned.tolist()) & set(validation.tolist())


def test_agreement_is_the_fraction_of_requested_classes_that_are_recognised(reference: Reference) -> None:
    images, shape = reference.validation.images[:30], SHAPES[0]
    recognised = feature_classifiers.concatenate(
        feature_classifiers.classify_batches(reference.classifiers[shape].net, images)
    ).classes
    requested = recognised.clone()
    requested[:12] = (requested[:12] + 1) % 10
    assert last(measure(images, requested, reference, "asked")).samples[shape].agreement == pytest.approx(18 / 30)


def test_cas_is_the_accuracy_on_real_images_of_a_classifier_trained_on_samples(
    reference: Reference,
) -> None:
    images, labels = reference.validation
    *steps, result = measure(images, labels, reference, "real", cas=True)
    assert isinstance(result, Evaluation)
    fitting = feature_classifiers.fit("conv", reference.validation, epochs=scores.CAS_EPOCHS)
    expected = feature_classifiers.accuracy(result_of(fitting), reference.test)
    assert result.samples["conv"].cas == result.baseline["conv"].cas == expected
    assert result.samples["mlp"].cas is result.baseline["mlp"].cas is None
    messages = {step.doing for step in steps if isinstance(step, EvaluationProgress)}
    assert {f"training a classifier on {what} only" for what in ("samples", "real images")} <= messages
    assert last(measure(images, labels, reference, "real")).samples["conv"].cas is None


# Errors


@pytest.mark.parametrize("n", [-1, 0, 1])
def test_a_number_out_of_range_is_refused_with_the_range_before_any_work(
    model: LoadedModel, reference: Reference, n: int
) -> None:
    words = f"from 2 to {VALIDATION}, the number of validation images of glyphs, not {n}$"
    with pytest.raises(MinidiffError, match=words):
        next(evaluate(model, n, steps=1, limit=LIMIT))


def test_more_samples_than_validation_images_are_reduced_with_a_warning(
    model: LoadedModel, reference: Reference
) -> None:
    first, *_, result = evaluate(model, 10_000, steps=1, limit=LIMIT)
    assert isinstance(first, Warned)
    assert f"n is {VALIDATION} instead of 10,000: glyphs has {LIMIT} training images" in first.message
    assert isinstance(result, Evaluation)
    assert result.n == VALIDATION


def test_a_number_out_of_range_is_refused_for_external_images_too(reference: Reference) -> None:
    with pytest.raises(MinidiffError, match="from 2 to 60"):
        next(measure(noise(VALIDATION + 1), None, reference, "noise"))


def test_cas_without_requested_classes_is_a_one_line_error_before_any_work(
    model: LoadedModel, reference: Reference
) -> None:
    for steps in (
        evaluate(model, 10, steps=1, cas=True, limit=LIMIT),
        measure(noise(10), None, reference, "a", cas=True),
    ):
        with pytest.raises(MinidiffError, match="is not class-conditional") as error:
            next(steps)
        assert len(str(error.value).splitlines()) == 1


def test_steps_below_one_are_refused(model: LoadedModel, reference: Reference) -> None:
    with pytest.raises(MinidiffError, match="steps must be at least 1"):
        list(evaluate(model, 10, steps=0, limit=LIMIT))
