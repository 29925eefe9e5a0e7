"""Evaluation of color, large and unlabeled datasets: networks, self-supervised features, scores and baselines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from generated_images import colour_images, colour_info, nearly, unlabelled

from core import MinidiffError, TrainConfig, build_model
from core.config.datasets import MAX_SIDE, MIN_SIDE, DatasetInfo
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.evaluation import feature_classifiers
from core.evaluation.feature_nets import FEATURES, SHAPES, Classifier, Shape, outputs, rotated
from core.evaluation.reference import Reference, prepare_images
from core.evaluation.scores import Evaluation, evaluate, measure, quick_scores
from core.generators import result_of
from core.runs.events import Warned

TRAIN, TEST, SIDE = 480, 160, 8
LABELLED, UNLABELLED = colour_info(SIDE, SIDE), colour_info(SIDE, SIDE, classes=0)


def bars(n: int, seed: int) -> LabeledImages:
    return colour_images(n, seed, SIDE, SIDE)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The classifier folder of an empty, isolated cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "minidiff" / "classifiers"


@pytest.fixture(scope="module")
def shared_cache(_user: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifiers")


def prepared(shared: Path, info: DatasetInfo) -> Reference:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(shared))
        environment.setattr(feature_classifiers, "MIN_STEPS", 60)
        train, test = bars(TRAIN, 0), bars(TEST, 1)
        if info.classes < 2:
            train, test = unlabelled(train), unlabelled(test)
        return result_of(prepare_images("glyphs", info, train, test))  # the name in a config of `untrained`


@pytest.fixture(scope="module")
def labelled_reference(shared_cache: Path) -> Reference:
    return prepared(shared_cache, LABELLED)


@pytest.fixture(scope="module")
def unlabelled_reference(shared_cache: Path) -> Reference:
    return prepared(shared_cache, UNLABELLED)


def untrained(info: DatasetInfo) -> LoadedModel:
    config = TrainConfig(preset="quick", dataset="glyphs", dataset_info=info, channels=(4, 4), device="cpu")
    net = build_model(config.model, generator=torch.Generator().manual_seed(0), **config.model_options)
    return LoadedModel(net.eval(), config, 0, "untrained")


def last(steps: Iterable[Any]) -> Evaluation:
    *_, result = steps
    assert isinstance(result, Evaluation)
    return result


# Networks


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "size",
    [(1, 28, 28), (1, 8, 30), (3, MIN_SIDE, MIN_SIDE), (3, 32, 32), (3, 31, 17), (1, 64, 64), (3, MIN_SIDE, MAX_SIDE)],
    ids=str,
)
def test_a_network_takes_any_shape_and_number_of_classes(shape: Shape, size: tuple[int, int, int]) -> None:
    channels, height, width = size
    info = DatasetInfo(channels=channels, height=height, width=width, class_names=tuple(map(str, range(1000))))
    net = Classifier(shape, info).eval()
    with torch.no_grad():
        assert net.features(torch.rand(2, *size)).shape == (2, FEATURES)
        assert net(torch.rand(2, *size)).shape == (2, 1000)


@pytest.mark.parametrize(("height", "width", "count"), [(16, 16, 4), (16, 24, 2)])
def test_without_classes_a_network_classifies_the_rotations_that_keep_the_shape(
    height: int, width: int, count: int
) -> None:
    assert outputs(DatasetInfo(height=height, width=width, class_names=())) == count
    assert outputs(DatasetInfo(height=height, width=width, class_names=("only",))) == count


def test_images_are_rotated_by_the_quarter_turns_of_their_labels() -> None:
    images = bars(5, 0).images
    result = rotated(images, torch.tensor([0, 1, 2, 3, 1]), (0, 1, 2, 3))
    for index, quarters in enumerate((0, 1, 2, 3, 1)):
        assert torch.equal(result[index], torch.rot90(images[index], quarters, (1, 2)))


@pytest.mark.parametrize(("chance", "needed"), [(0.1, 0.464), (0.001, 0.1), (0.5, 0.794), (0.25, 0.63)])
def test_the_accuracy_needed_is_the_cube_root_of_chance(chance: float, needed: float) -> None:
    assert feature_classifiers.min_accuracy(chance) == pytest.approx(needed, abs=1e-3)


def test_chance_is_the_share_of_the_most_frequent_class() -> None:
    images = bars(10, 0).images
    uneven = LabeledImages(images, torch.tensor([0, 1, 2, 2, 2, 2, 2, 2, 2, 3]))
    assert feature_classifiers.chance(LABELLED, uneven) == 0.7
    assert feature_classifiers.chance(UNLABELLED, unlabelled(uneven)) == 0.25


# Cache


def test_other_labels_or_class_names_need_another_classifier(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_classifiers, "EPOCHS", 1)
    monkeypatch.setattr(feature_classifiers, "MIN_STEPS", 1)
    data, info = bars(30, 0), LABELLED
    renamed = dataclasses.replace(info, class_names=("a", "b", "c", "d"))
    relabelled = LabeledImages(data.images, (data.labels + 1) % 4)
    variants = [(data, info), (relabelled, info), (data, renamed), (unlabelled(data), UNLABELLED)]
    for number, (train, its_info) in enumerate(variants, start=1):
        for trained in (True, False):
            fitting = feature_classifiers.get_classifier("mlp", "./my pictures", train, train, its_info)
            steps = list(fitting)
            assert bool(steps) is trained
        assert len(list(cache.iterdir())) == number
    assert all(path.name.startswith("my-pictures-mlp-") for path in cache.iterdir())


# Scores


def test_a_colour_dataset_is_evaluated_with_classifiers_of_its_classes(labelled_reference: Reference) -> None:
    images, labels = bars(80, 2)
    result = last(measure(images, labels, labelled_reference, "fresh"))
    noise = torch.randint(256, images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    far = last(measure(noise, None, labelled_reference, "noise"))
    assert result.task == "classes"
    assert result.class_names == ("red", "green", "blue", "yellow")
    for shape in SHAPES:
        assert result.accuracy[shape] > feature_classifiers.min_accuracy(result.chance[shape])
        assert result.samples[shape].frechet < 2 * result.baseline[shape].frechet
        assert far.samples[shape].frechet > 5 * result.baseline[shape].frechet
        assert len(result.samples[shape].classes) == 4
        assert result.samples[shape].agreement is not None
        assert result.samples[shape].agreement > 0.8


def test_an_unlabelled_dataset_is_evaluated_by_features_that_tell_rotations_apart(
    unlabelled_reference: Reference,
) -> None:
    images = bars(80, 2).images
    result = last(measure(images, None, unlabelled_reference, "fresh"))
    noise = torch.randint(256, images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    far = last(measure(noise, None, unlabelled_reference, "noise"))
    assert (result.task, result.class_names) == ("rotations", ())
    assert result.chance == dict.fromkeys(SHAPES, 0.25)
    assert result.accuracy["conv"] > feature_classifiers.min_accuracy(0.25)
    for shape in SHAPES:
        scores, baseline = result.samples[shape], result.baseline[shape]
        assert scores.frechet < 2 * baseline.frechet
        assert far.samples[shape].frechet > 5 * baseline.frechet
        assert scores.agreement is scores.cas is baseline.agreement is None
        assert scores.classes == baseline.classes == ()


def test_an_evaluation_of_images_in_memory_is_plain_json_with_a_memorisation_check(
    unlabelled_reference: Reference, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    data = (unlabelled_reference.train, unlabelled_reference.test)
    model = untrained(UNLABELLED)
    result = last(evaluate(model, 20, steps=1, data=data))
    assert json.loads(json.dumps(dataclasses.asdict(result)))["memorisation"].keys() == {"pixels", "features"}
    score, agreement = result_of(quick_scores(model, 20, unlabelled_reference))
    assert score > result.baseline["conv"].frechet
    assert agreement is None


def test_copies_of_training_images_are_found_in_pixels_and_features(labelled_reference: Reference) -> None:
    copies = nearly(labelled_reference.train.images[:60], 0, noise=2)
    result = last(measure(copies, None, labelled_reference, "copies", memorisation=True))
    for space in ("pixels", "features"):
        check = result.memorisation[space]
        assert check.samples.closer > 0.9
        assert check.samples.copies > 0.8
        assert check.baseline.closer == pytest.approx(0.5, abs=0.15)
        assert check.baseline.copies < 0.1
    assert last(measure(copies, None, labelled_reference, "copies")).memorisation == {}


def test_fresh_images_are_not_taken_for_copies_in_pixels_or_features(labelled_reference: Reference) -> None:
    result = last(measure(bars(80, 2).images, None, labelled_reference, "fresh", memorisation=True))
    for space in ("pixels", "features"):
        assert result.memorisation[space].samples.closer == pytest.approx(0.5, abs=0.15)
        assert result.memorisation[space].samples.copies < 0.1


# Errors and warnings


def test_too_few_images_are_a_one_line_error_before_any_training(cache: Path) -> None:
    few = bars(11, 0)
    with pytest.raises(MinidiffError, match="bars has 11 training and 11 test images; an evaluation needs") as error:
        next(prepare_images("bars", LABELLED, few, few))
    assert len(str(error.value).splitlines()) == 1
    assert not cache.exists()


def test_cas_needs_at_least_two_classes(unlabelled_reference: Reference) -> None:
    with pytest.raises(MinidiffError, match="--cas needs"):
        next(measure(bars(9, 0).images, torch.zeros(9), unlabelled_reference, "a", cas=True))


def test_a_classifier_near_chance_is_named_with_the_accuracy_that_is_needed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_classifiers, "EPOCHS", 1)
    monkeypatch.setattr(feature_classifiers, "MIN_STEPS", 1)
    train, test = (LabeledImages(bars(48, seed).images, torch.arange(48) % 4) for seed in (0, 1))  # nothing to learn
    warned = [step.message for step in prepare_images("bars", LABELLED, train, test) if isinstance(step, Warned)]
    assert len(warned) == len(SHAPES)
    for message in warned:
        assert "for classes, where chance is 25.0% and 63.0% is needed; its scores are not reliable" in message
