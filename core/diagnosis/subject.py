"""What is diagnosed: a network with the images that it was trained on, from Python or from a run directory."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from core.compute.arrays import as_tensor
from core.config.datasets import DatasetInfo
from core.config.training import TrainConfig
from core.data import datasets
from core.diagnosis.measurements import evaluated
from core.diffusion.frames import quantized
from core.diffusion.loaded_model import LoadedModel, find_model, load_model
from core.errors import CheckpointError, DatasetError, MinidiffError
from core.evaluation.feature_classifiers import FeatureClassifier, available_classifier
from core.evaluation.feature_nets import SHAPES
from core.models.custom import CustomNetwork, Network, with_network
from core.models.weights import read_weights
from core.runs.directory import CONFIG, EVENTS, INDEX, MODEL, STATE, root_directory
from core.runs.events import Event
from core.training.state import read_state

if TYPE_CHECKING:
    from core.compute.arrays import ArrayLike


@dataclass(frozen=True)
class Subject:
    """A model and what is known about its training; parts that are not known are None."""

    model: LoadedModel
    images: Tensor | None = None  # (N, C, H, W): bytes, or floating point as fed to the network
    labels: Tensor | None = None  # (N,) int64
    validation: Tensor | None = None  # (M, C, H, W), likewise
    validation_labels: Tensor | None = None
    online: nn.Module | None = None  # the weights in training, if those of the model are their EMA
    ema_decay: float | None = None  # per step, if it is constant
    steps: int | None = None
    learning_rate: float | None = None  # peak
    precision: str = "float32"  # that the network is trained in
    classifier: FeatureClassifier | None = None
    samples: Tensor | None = None  # (n, C, H, W) in the value range of the path, from another sampler
    reasons: dict[str, str] = field(default_factory=dict)  # why parts are not known, by their name

    def clean(self, images: Tensor) -> Tensor:
        """Images as fed to the network, float32, from bytes or from what is fed already."""
        return self.model.path.normalize(images.float() / 255) if images.dtype == torch.uint8 else images.float()

    def unit(self, images: Tensor) -> Tensor:
        """Images in [0, 1], float32."""
        return images.float() / 255 if images.dtype == torch.uint8 else self.model.path.denormalize(images.float())

    def bytes(self, images: Tensor) -> Tensor:
        """Images as bytes, (n, C, H, W) uint8."""
        return images if images.dtype == torch.uint8 else quantized(self.unit(images))

    def missing(self, part: str, otherwise: str) -> str:
        """Why a part is not known."""
        return self.reasons.get(part, otherwise)


def network_subject(
    model: nn.Module | LoadedModel,
    images: ArrayLike | None,
    labels: ArrayLike | None,
    validation: ArrayLike | None,
    validation_labels: ArrayLike | None,
    samples: ArrayLike | None,
    ema: nn.Module | None,
    ema_decay: float | None,
    steps: int | None,
    learning_rate: float | None,
    config: TrainConfig,
) -> Subject:
    """The subject of a diagnosis from Python.

    Raises:
        MinidiffError: The images or the network cannot be used.
    """
    given = {name: None if value is None else _images(value, name) for name, value in (
        ("images", images), ("validation", validation), ("samples", samples)
    )}  # fmt: skip
    tensors = {name: value for name, value in given.items() if value is not None}
    known = None if labels is None else _labels(labels, "labels", tensors.get("images"))
    known_validation = (
        None
        if validation_labels is None
        else _labels(validation_labels, "validation_labels", tensors.get("validation"))
    )
    if isinstance(model, LoadedModel):
        online, loaded = None, model
    else:
        if not tensors:
            raise MinidiffError("a network needs images to be diagnosed with; pass images")
        shape = tuple(next(iter(tensors.values())).shape[1:])
        online, loaded = _wrapped(model, ema, config, shape, known)
    for name, value in tensors.items():
        if tuple(value.shape[1:]) != loaded.config.info.shape:
            raise MinidiffError(f"{name} have the shape {tuple(value.shape[1:])}, not {loaded.config.info.shape}")
    trained = loaded.config if isinstance(model, LoadedModel) else None
    return Subject(
        loaded,
        given["images"],
        known,
        given["validation"],
        known_validation,
        online,
        ema_decay,
        steps,
        learning_rate if trained is None or learning_rate is not None else trained.learning_rate,
        _weights_precision(loaded.net) or loaded.config.precision,
        None,
        given["samples"],
    )


def _wrapped(
    net: nn.Module, ema: nn.Module | None, config: TrainConfig, shape: tuple[int, ...], labels: Tensor | None
) -> tuple[nn.Module | None, LoadedModel]:
    """A bare network as a model that calls it with as many inputs as it takes."""
    name = type(net).__name__
    wrapped = CustomNetwork(net, name)
    classes = 0 if labels is None or not len(labels) else max(1, int(labels.max()) + 1)
    try:
        channels, height, width = shape
        info = DatasetInfo(channels, height, width, tuple(map(str, range(classes))))
    except ValueError as error:
        raise MinidiffError(f"images cannot be used: {error}") from None
    config = with_network(config, net).changed(
        dataset_info=info,
        time_conditioning=wrapped.inputs > 1,
        class_conditional=wrapped.inputs > 2 and classes > 0,
        label_dropout=0.0,
    )
    sampled = wrapped if ema is None else CustomNetwork(ema, name)
    model = LoadedModel(sampled, config, 0, name)
    x = model.placed(torch.zeros((2, *info.shape), dtype=torch.float32, device="cpu"))
    given = torch.zeros(2, dtype=torch.int64, device=x.device) if config.class_conditional else None
    try:
        with torch.no_grad(), evaluated(sampled):
            output = sampled(x, x.new_zeros(2), given)
        output = output if isinstance(output, Tensor) else output.sample
        if output.shape != x.shape:
            raise MinidiffError(f"{name} returned {tuple(output.shape)} for images of shape {tuple(x.shape)}")
    except MinidiffError:
        raise
    except Exception as error:  # the user's code may raise anything
        message = " ".join(str(error).split())
        raise MinidiffError(f"{name}: {wrapped.signature} failed: {type(error).__name__}: {message}") from error
    return (None if ema is None else wrapped), model


def _weights_precision(net: nn.Module) -> str | None:
    """The precision of a network's weights, if it is a low one."""
    dtypes = {str(weight.dtype).removeprefix("torch.") for weight in net.parameters() if weight.is_floating_point()}
    return next((name for name in ("float16", "bfloat16") if name in dtypes), None)


def _images(value: ArrayLike, name: str) -> Tensor:
    images = as_tensor(value, name)
    if images.ndim != 4 or not len(images):
        raise MinidiffError(f"{name} must have shape (n, C, H, W) with n at least 1, not {tuple(images.shape)}")
    if not images.is_floating_point() and images.dtype != torch.uint8:
        images = images.float()  # such as pixels from 0 to 255, which are then found
    return images.detach().cpu()


def _labels(value: ArrayLike, name: str, images: Tensor | None) -> Tensor:
    labels = as_tensor(value, name)
    if labels.ndim != 1 or images is None or len(labels) != len(images):
        raise MinidiffError(f"{name} must have one number per image, not the shape {tuple(labels.shape)}")
    return labels.detach().cpu().long()


# Runs and files


@dataclass(frozen=True)
class Located:
    """The files of a run or a model."""

    folder: Path | None  # with config and log
    file: Path | None  # weights, or the model_index.json of a pipeline


def locate(name: str | Path, root: str | Path | None) -> Located:
    """Find a run, even one without weights yet, or a model that `load_model` accepts.

    Raises:
        CheckpointError: There is no such run or model.
    """
    directory = root_directory(root)
    try:
        file = find_model(name, directory)
    except CheckpointError:
        for candidate in (Path(os.path.expanduser(name)), directory / Path(name).name):
            if str(name) and (candidate / CONFIG).is_file():
                return Located(candidate, None)
        raise
    folder = file.parent if file.name == MODEL and (file.parent / EVENTS).is_file() else None
    return Located(folder, file)


def stored_weights(located: Located, net: Network | None) -> tuple[dict[str, Tensor], TrainConfig] | None:
    """The weights of a file, even if they are not finite, and the config; None for a pipeline or without weights."""
    if located.file is None or located.file.name == INDEX:
        return None
    tensors, config, _, _ = read_weights(located.file, net)
    return tensors, config


def run_subject(
    located: Located,
    stored: TrainConfig | None,
    net: Network | None,
    device: str,
    data_root: str | Path | None,
) -> Generator[Event, None, Subject]:
    """Load a model, its images, and the weights in training if the run has them.

    `stored` is the config in the model's file, if any. A run without weights has a model that cannot be called.

    Raises:
        MinidiffError: The model cannot be loaded.
    """
    if located.file is not None:
        model = load_model(located.file, device, net=net)
    else:
        assert located.folder is not None
        config = TrainConfig.from_toml(located.folder / CONFIG)
        model = LoadedModel(nn.Identity(), config, 0, located.folder.name)
    config, reasons = model.config, dict[str, str]()
    train = validation = None
    name = ""
    if model.schedule is not None:
        reasons["images"] = "the folder does not name its training images"
    else:
        try:
            found = yield from datasets.locate(
                config.dataset, data_root, limit=config.limit, options=config.image_options
            )
            name = found.name
            if config.dataset_info is None and found.prepared is not None:  # a run that has not been started yet
                config = config.changed(dataset_info=found.prepared.info, class_conditional=False)
                model = replace(model, config=config)
            train, validation = (datasets.read(found, split, config.limit) for split in datasets.SPLITS)
            if tuple(train.images.shape[1:]) != config.info.shape:
                train = validation = None
                reasons["images"] = f"the images of {name} have another shape than the network's"
        except DatasetError as error:
            reasons["images"] = str(error)
    online = None
    if config.ema and located.file is not None and located.folder is not None and (located.folder / STATE).is_file():
        try:
            online = _online_weights(model, located.folder / STATE, net)
        except CheckpointError as error:
            reasons["online"] = str(error)
    return Subject(
        model,
        None if train is None else train.images,
        None if train is None else train.labels,
        None if validation is None else validation.images,
        None if validation is None else validation.labels,
        online,
        learning_rate=None if model.schedule is not None else config.learning_rate,
        steps=model.step,
        precision=stored.precision if stored is not None else "float32",
        classifier=_classifier(name, config),
        reasons=reasons,
    )


def _classifier(name: str, config: TrainConfig) -> FeatureClassifier | None:
    if not name:
        return None
    try:
        return available_classifier(SHAPES[0], name, config.info)
    except CheckpointError:
        return None


def _online_weights(model: LoadedModel, path: Path, net: Network | None) -> nn.Module:
    """A copy of the model's network with the weights in training."""
    tensors, *_ = read_state(path, net)
    online = copy.deepcopy(model.net)
    online.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("net.")})
    return online
