"""Results depend only on the seed: they neither depend on nor change torch's global and per-thread settings."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import pytest
import torch
from torch import Tensor

from core import (
    TrainConfig,
    build_model,
    convolve_steps,
    corruption_sweep,
    feature_maps,
    layer_table,
    load_dataset,
    load_model,
    receptive_field,
    sample,
    train,
    transposed_convolve_steps,
)
from core.compute.seeding import generator_for
from core.config.sampling import DIFFUSERS, SAMPLER_NAMES, SCHEDULERS, incompatibility
from core.convolution import named_kernel
from core.data.datasets import LabeledImages
from core.diffusion.loaded_model import LoadedModel
from core.diffusion.prob_paths import PATHS
from core.diffusion.sampling import noised
from core.evaluation.feature_classifiers import fit
from core.evaluation.feature_nets import SHAPES
from core.evaluation.memorisation import check_memorisation
from core.evaluation.nearest import nearest_training_images
from core.generators import result_of
from core.runs.directory import BUILTIN, builtin_directories
from core.runs.events import Epoch, Preview
from core.training.trainer import Trainer

T = TypeVar("T")
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # diffusers with NumPy 2
CPU = torch.device("cpu")
TINY = {"dataset": "glyphs", "limit": 24, "batch_size": 12, "epochs": 1, "device": "cpu", "threads": 1}
NETS: dict[str, dict[str, Any]] = {
    "patch_unet": {"channels": (16, 16), "precision": "float32", "augment_shift": 1},
    "bfloat16": {"channels": (16, 16), "precision": "bfloat16"},
    "basic_unet": {"preset": "quick", "channels": (4, 4)},
    "unet2d": {"model": "unet2d", "channels": (32,), "layers_per_block": 1, "precision": "float32"},
    "vp": {"path": "vp", "prediction": "v", "channels": (16, 16), "precision": "float32", "optimizer": "adamw"},
}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "another default device": lambda: default_device("meta"),  # tensors without data, so any leaked one is noticed
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
each_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def to_bytes(values: Any) -> Any:
    """Convert tensors to dtype and bytes for bitwise comparison."""
    if isinstance(values, Tensor):
        return str(values.dtype), tuple(values.shape), values.detach().float().cpu().numpy().tobytes()
    if isinstance(values, dict):
        return {name: to_bytes(value) for name, value in values.items()}
    return [to_bytes(value) for value in values] if isinstance(values, (list, tuple)) else values


@functools.cache
def with_defaults(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `work` under torch's default settings."""
    return to_bytes(work(*arguments))


def train_steps(net: str) -> Any:
    """Two training steps, and two more of a trainer that loaded its state."""
    config, images = TrainConfig(**{**TINY, **NETS[net]}), load_dataset("glyphs", limit=24)
    values: list[Any] = []
    first, second = Trainer(config, CPU), Trainer(config, CPU)
    for trainer in (first, second):
        trainer.set_data(*images)
        if values:
            trainer.restore({name: value.clone() for name, value in first.state().items()}, 2, Path("state"))
        values += [trainer.train_step() for _ in range(2)]
        values += [trainer.state(), list(trainer.validation_errors(*images))]
    return values


def trained() -> Any:
    events = list(train(TrainConfig(**{**TINY, **NETS["basic_unet"]})))
    epochs = [[event.loss, event.validation_loss] for event in events if isinstance(event, Epoch)]
    return [epochs, [event.images for event in events if isinstance(event, Preview)]]


def model(**options: Any) -> LoadedModel:
    """A network with non-zero outputs, unlike a new `patch_unet`."""
    config = TrainConfig(**{"channels": (16, 16), "precision": "float32", **options})
    net = build_model(config.model, generator=generator_for(1, 0, 0), **config.model_options).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    return LoadedModel(net, config, 1, "small")


def sampled() -> Any:
    values = []
    for path, prediction in (("mix", "clean"), ("flow", "velocity"), ("vp", "v")):
        loaded = model(path=path, prediction=prediction)
        for sampler in SAMPLER_NAMES:
            if incompatibility(sampler, path) is None:
                *_, last = sample(loaded, n=2, steps=3, seed=5, sampler=sampler)
                values.append((last.x, last.prediction))
        digits = load_dataset("glyphs", split="test", limit=2)
        start = noised(loaded, digits.images.float() / 255, 0.6, 3)
        *_, last = sample(loaded, start=start, start_t=0.6, seed=1, labels=digits.labels)
        values.append((start, last.x))
    return values


def load_and_inspect() -> Any:
    """Outputs of the built-in model, including its lab results."""
    loaded = load_model(BUILTIN[0], "cpu")
    loaded = LoadedModel(loaded.net, loaded.config.changed(precision="float32"), loaded.step, loaded.name)
    image = load_dataset("glyphs", split="test", limit=1).images.float() / 255
    points = list(corruption_sweep(loaded, image[0], [0.0, 0.4, 1.0], label=3, seed=5, steps=2))
    x = PATHS["flow"].normalize(image)
    *_, convolved = convolve_steps(image[0, 0], named_kernel("sobel x"))
    *_, spread = transposed_convolve_steps(image[0, 0, :6, :6], named_kernel("sobel x"))
    return (
        [value for _, value in sorted(loaded.net.state_dict().items())],
        loaded.mean_image,
        [(point.x, point.prediction, point.sampled, point.error) for point in points],
        feature_maps(loaded.net, x, 0.5),
        receptive_field(loaded, x, (14, 14), 0.5),
        convolved.output,
        spread.output,
        [(row.name, row.operations) for row in layer_table(loaded.net)],
    )


def fit_classifier(shape: Any) -> Any:
    return result_of(fit(shape, LabeledImages(*load_dataset("glyphs", limit=140)), epochs=1)).state_dict()


@each_setting
@pytest.mark.parametrize("net", NETS)
def test_steps_are_the_same_under_any_setting(net: str, setting: Callable[[], AbstractContextManager[Any]]) -> None:
    expected = with_defaults(train_steps, net)
    with setting():
        assert to_bytes(train_steps(net)) == expected


@each_setting
def test_training_is_the_same_under_any_setting(setting: Callable[[], AbstractContextManager[Any]]) -> None:
    expected = with_defaults(trained)
    with setting():
        assert trained() == expected


@each_setting
def test_samples_are_the_same_under_any_setting(setting: Callable[[], AbstractContextManager[Any]]) -> None:
    expected = with_defaults(sampled)
    with setting():
        assert to_bytes(sampled()) == expected


def scheduler_sampler() -> Any:
    values = []
    for path, options in (("flow", {}), ("vp", {"path": "vp", "prediction": "v"})):
        loaded = model(**options)
        for name in SCHEDULERS[path]:
            if hasattr(diffusers, name) and "_backends" not in dir(getattr(diffusers, name)):
                *_, last = sample(loaded, n=1, steps=3, seed=5, sampler=DIFFUSERS + name)
                values.append(last.x)
    return values


@each_setting
def test_diffusers_schedulers_are_the_same_under_any_setting(
    setting: Callable[[], AbstractContextManager[Any]],
) -> None:
    expected = with_defaults(scheduler_sampler)
    with setting():
        assert to_bytes(scheduler_sampler()) == expected


@each_setting
@pytest.mark.skipif(BUILTIN[0] not in builtin_directories(), reason="the built-in model is not in this tree")
def test_a_loaded_model_is_the_same_under_any_setting(setting: Callable[[], AbstractContextManager[Any]]) -> None:
    expected = with_defaults(load_and_inspect)
    with setting():
        assert to_bytes(load_and_inspect()) == expected


@each_setting
@pytest.mark.parametrize("shape", SHAPES)
def test_a_classifier_is_the_same_under_any_setting(
    shape: Any, setting: Callable[[], AbstractContextManager[Any]]
) -> None:
    expected = with_defaults(fit_classifier, shape)
    with setting():
        assert to_bytes(fit_classifier(shape)) == expected


@each_setting
def test_the_memorisation_check_is_the_same_under_any_setting(
    setting: Callable[[], AbstractContextManager[Any]],
) -> None:
    images = load_dataset("glyphs", limit=90).images

    def compared() -> Any:
        nearest = nearest_training_images(images[:9], images[9:], k=3)
        check = result_of(check_memorisation(images[:9], images[9:60], images[60:]))
        return nearest.indices, nearest.distances, check

    expected = with_defaults(compared)
    with setting():
        assert to_bytes(compared()) == expected


@each_setting
def test_the_caller_has_its_own_settings_between_events(
    setting: Callable[[], AbstractContextManager[Any]],
) -> None:
    def now() -> tuple[Any, ...]:
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        return *modes, torch.get_default_dtype(), torch.get_default_device()

    with setting():
        before = now()
        for _ in train(TrainConfig(**{**TINY, **NETS["basic_unet"]})):
            assert now() == before


def test_the_global_generator_is_not_advanced(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    load_model(BUILTIN[0], "cpu")
    Trainer(TrainConfig(**{**TINY, **NETS["unet2d"]}), CPU)
    build_model("unet2d", generator=torch.Generator(), channels=(32, 32))
    result_of(fit("conv", LabeledImages(*load_dataset("glyphs", limit=20)), epochs=1))
    list(sample(model(), n=1, steps=2, sampler="ddpm"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_built_without_a_generator_uses_the_global_one() -> None:
    torch.manual_seed(3)
    first, second = build_model("basic_unet", channels=(2, 2)), build_model("basic_unet", channels=(2, 2))
    torch.manual_seed(3)
    again = build_model("basic_unet", channels=(2, 2))
    assert to_bytes(first.state_dict()) == to_bytes(again.state_dict()) != to_bytes(second.state_dict())


def in_threads(work: Callable[[int], T], count: int) -> list[T]:
    """Run `work` in `count` threads that start at the same time."""
    results: dict[int, T] = {}
    begin = threading.Barrier(count)

    def run(number: int) -> None:
        begin.wait()
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(count)]


@pytest.mark.parametrize("net", ["patch_unet", "basic_unet", "unet2d"])
def test_trainers_built_in_parallel_threads_start_with_the_weights_of_their_seeds(net: str) -> None:
    def build(seed: int) -> Any:
        config = TrainConfig(**{**TINY, **NETS[net], "seed": seed % 2})
        return [to_bytes(Trainer(config, CPU).net.state_dict()) for _ in range(5)]

    expected = [build(seed) for seed in (0, 1)]
    for _ in range(3):
        for number, nets in enumerate(in_threads(build, 4)):
            assert nets == expected[number % 2]
