"""Feature classifiers: trained the same way every time, cached, refused when damaged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import safetensors.torch
import torch
from torch import Tensor

from core import load_dataset
from core.config.datasets import DIGITS
from core.data.datasets import LabeledImages, images_sha256
from core.errors import CheckpointError
from core.evaluation import feature_classifiers
from core.evaluation.feature_classifiers import DataDigests, FeatureClassifier
from core.evaluation.feature_nets import FEATURES, SHAPES, Classifier, Shape
from core.generators import WithResult

T = TypeVar("T")
FEW = 96  # images: two thirds of a batch, so one step per epoch

each_shape = pytest.mark.parametrize("shape", SHAPES)


def outcome(steps: Generator[Any, None, T]) -> tuple[list[Any], T]:
    """The values a generator yields and its return value."""
    running = WithResult(steps)
    return list(running), running.result


def glyphs(n: int, split: str = "train") -> LabeledImages:
    return load_dataset("glyphs", split=split, limit=n)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The classifier folder of an empty, isolated cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "minidiff" / "classifiers"


def fit(shape: Shape, n: int = FEW) -> tuple[list[tuple[int, int]], FeatureClassifier]:
    return outcome(feature_classifiers.get_classifier(shape, "glyphs", glyphs(n), glyphs(50, "test")))


# Shapes and the split


@each_shape
def test_features_are_the_input_of_the_last_layer(shape: Shape) -> None:
    net = Classifier(shape).eval()
    x = torch.rand(3, 1, 28, 28)
    features = net.features(x)
    assert features.shape == (3, FEATURES)
    assert net(x).shape == (3, 10)
    torch.testing.assert_close(net(x), net.head(features))


def test_the_validation_split_is_a_fixed_sixth_and_disjoint() -> None:
    learned, validation_loss = feature_classifiers.split(60_000)
    assert (len(learned), len(validation_loss)) == (50_000, 10_000)
    assert torch.equal(torch.cat([learned, validation_loss]).sort().values, torch.arange(60_000))
    again = feature_classifiers.split(60_000)
    assert torch.equal(again[0], learned)
    assert torch.equal(again[1], validation_loss)
    assert not torch.equal(validation_loss, torch.arange(10_000))
    assert len(feature_classifiers.split(120_000)[1]) == 10_000  # enough for every evaluation


# Training


@each_shape
def test_fitting_is_deterministic_and_does_not_advance_the_global_generator(shape: Shape) -> None:
    data, before = glyphs(FEW), torch.random.get_rng_state()
    steps, first = outcome(feature_classifiers.fit(shape, data, epochs=12))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    _, second = outcome(feature_classifiers.fit(shape, data, epochs=12))
    assert steps == [(step, 12) for step in range(1, 13)]
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not first.training


@pytest.mark.parametrize(("shape", "epochs"), [("conv", 5), ("mlp", 6)])
def test_fitting_generalises_to_new_glyphs_in_a_few_epochs(shape: Shape, epochs: int) -> None:
    _, net = outcome(feature_classifiers.fit(shape, glyphs(1500), epochs=epochs))
    assert feature_classifiers.accuracy(net, glyphs(250, "test")) > 0.9


def test_a_last_batch_of_one_image_is_skipped() -> None:
    data = glyphs(feature_classifiers.BATCH + 1)
    _, net = outcome(feature_classifiers.fit("mlp", data, epochs=5))
    assert all(bool(value.isfinite().all()) for value in net.state_dict().values())


# Reading


def test_classifying_in_batches_matches_one_batch() -> None:
    torch.manual_seed(0)
    net, images = Classifier("mlp").eval(), glyphs(50).images
    at_once, parts = (
        feature_classifiers.concatenate(feature_classifiers.classify_batches(net, images)),
        list(feature_classifiers.classify_batches(net, images, batch=20)),
    )
    assert [len(part.classes) for part in parts] == [20, 20, 10]
    together = feature_classifiers.concatenate(parts)
    torch.testing.assert_close(together.features, at_once.features)
    assert torch.equal(together.classes, at_once.classes)
    with torch.no_grad():
        likely = net(images.float() / 255).softmax(1)
    assert torch.equal(at_once.classes, likely.argmax(1))
    torch.testing.assert_close(at_once.confidence, likely.max(1).values)


# Cached classifiers


def test_a_classifier_is_trained_once_on_the_training_part_and_then_read_from_the_cache(cache: Path) -> None:
    steps, first = fit("mlp")
    total = feature_classifiers.MIN_STEPS  # more than twelve epochs
    assert steps[-1] == (total, total)
    (kept,) = cache.iterdir()
    assert kept.name.startswith("glyphs-mlp-")
    again, second = fit("mlp")
    assert again == []
    assert second.sha256 == first.sha256
    assert (
        second.accuracy
        == first.accuracy
        == pytest.approx(feature_classifiers.accuracy(first.net, glyphs(50, "test")), abs=1e-4)
    )
    learned, _ = feature_classifiers.split(FEW)
    data = glyphs(FEW)
    _, net = outcome(
        feature_classifiers.fit("mlp", LabeledImages(data.images[learned], data.labels[learned]), epochs=total)
    )
    assert_same_weights(net, second.net)


def test_other_images_or_another_shape_need_a_new_classifier(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_classifiers, "MIN_STEPS", 1)
    _, first = fit("mlp")
    for shape, n in (("mlp", FEW - 10), ("conv", FEW)):
        steps, other = fit(shape, n)
        assert steps
        assert other.sha256 != first.sha256
    assert len(list(cache.iterdir())) == 3


def test_the_file_describes_its_content(cache: Path) -> None:
    fit("mlp")
    (kept,) = cache.iterdir()
    with safetensors.safe_open(kept, framework="pt") as file:
        header = file.metadata()
    assert header["format"] == "minidiff classifier"
    assert (header["shape"], header["dataset"], header["seed"]) == ("mlp", "glyphs", "0")
    assert header["train_images_sha256"] == images_sha256(glyphs(FEW))
    assert 0 <= float(header["accuracy"]) <= 1


def test_the_most_accurate_available_classifier_is_used_if_it_is_accurate_enough(cache: Path) -> None:
    cache.mkdir(parents=True)

    def keep(letter: str, accuracy: float, shape: Shape = "mlp", name: str = "glyphs") -> None:
        with torch.no_grad():
            net = Classifier(shape)
            net.head.bias.fill_(accuracy)
        feature_classifiers.write_classifier(
            cache / f"{name}-{shape}-{letter * 12}.safetensors", net, name, DataDigests("", letter * 64), accuracy, 0.1
        )

    def available() -> float | None:
        classifier = feature_classifiers.available_classifier("mlp", "glyphs")
        assert classifier is None or classifier.net.head.bias[0].item() == pytest.approx(classifier.accuracy)
        return None if classifier is None else classifier.accuracy

    assert available() is None
    keep("c", 0.125)
    keep("d", 0.99, shape="conv")
    keep("e", 0.99, name="glyphs2")
    assert available() is None
    keep("8", 0.46)  # the cube root of 0.1 is 0.464
    assert available() is None
    for letter, accuracy, best in (("f", 0.85, 0.85), ("a", 0.81, 0.85), ("b", 0.97, 0.97), ("0", 0.5, 0.97)):
        keep(letter, accuracy)
        assert available() == best
    other = dataclasses.replace(DIGITS, class_names=tuple("abcdefghij"))
    assert feature_classifiers.available_classifier("mlp", "glyphs", other) is None


def retyped(content: bytes, dtype: torch.dtype, value: float | None = None) -> bytes:
    """Rewrite a classifier file with another dtype or value under the same header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])["__metadata__"]
    tensors = safetensors.torch.load(content)
    tensors["head.weight"] = tensors["head.weight"].to(dtype)
    if value is not None:
        tensors["head.weight"][0, 0] = value
    return safetensors.torch.save(tensors, header)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: content[: len(content) // 2], id="cut short"),
        pytest.param(lambda content: b"this is text, and a good deal of it", id="text"),
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: content.replace(b'"accuracy":"', b'"accuracy":"x'), id="longer header"),
        pytest.param(lambda content: content.replace(b'"accuracy":"0.', b'"accuracy":"0x'), id="no number"),
        pytest.param(lambda content: content.replace(b'"accuracy"', b'"accurate"'), id="no accuracy"),
        pytest.param(lambda content: content.replace(b'"head.weight"', b'"tail.weight"'), id="other layers"),
        pytest.param(lambda content: content.replace(b'"accuracy":"0.', b'"accuracy":"7.'), id="no share"),
        *(
            pytest.param(lambda content, dtype=dtype: retyped(content, dtype), id=str(dtype))
            for dtype in (torch.float8_e4m3fn, torch.float16, torch.float64, torch.int64, torch.complex64)
        ),
        pytest.param(lambda content: retyped(content, torch.float32, torch.nan), id="a value that is no number"),
    ],
)
def test_a_damaged_classifier_is_a_one_line_error_that_names_the_file(cache: Path, damage: Any) -> None:
    fit("mlp")
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    assert damage(content) != content
    kept.write_bytes(damage(content))
    with pytest.raises(CheckpointError, match="not a usable classifier") as error:
        fit("mlp")
    assert str(kept) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_an_unwritable_cache_is_a_one_line_error_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    data = LabeledImages(torch.zeros(12, 1, 28, 28, dtype=torch.uint8), torch.zeros(12, dtype=torch.int64))
    with pytest.raises(CheckpointError, match="set XDG_CACHE_HOME to a writable folder"):
        next(feature_classifiers.get_classifier("mlp", "glyphs", data, data))


# Shipped weights


@each_shape
def test_shipped_weights_reach_their_recorded_accuracy_on_genuine_mnist(
    shape: Shape, genuine_mnist: Path, cache: Path
) -> None:
    train, test = (load_dataset("mnist", genuine_mnist, split=split) for split in ("train", "test"))
    fitting = feature_classifiers.get_classifier(shape, "mnist", train, test)
    yielded, classifier = outcome(fitting)
    assert not yielded, "it is being trained: no shipped weights were found for these images"
    assert not cache.exists()
    assert classifier.accuracy > 0.985
    assert feature_classifiers.accuracy(classifier.net, test) == pytest.approx(classifier.accuracy, abs=2e-4)
    _, validation_loss = feature_classifiers.split(len(train.images))
    validation = LabeledImages(train.images[validation_loss], train.labels[validation_loss])
    assert feature_classifiers.accuracy(classifier.net, validation) == pytest.approx(classifier.accuracy, abs=5e-3)


def assert_same_weights(a: Classifier, b: Classifier) -> None:
    def plain(net: Classifier) -> dict[str, Tensor]:
        return {name: value.contiguous() for name, value in net.state_dict().items()}

    assert plain(a).keys() == plain(b).keys()
    assert all(torch.equal(value, plain(b)[name]) for name, value in plain(a).items())
