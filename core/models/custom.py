"""Networks of the user's own: imported as `module:Class` on request, built, and checked before they are trained.

Nothing is imported because a run directory or a weights file names it: the caller passes the network or its name.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.compute.seeding import WEIGHTS, mixed_seed
from core.compute.torch_settings import training_mode
from core.config.architecture import is_custom
from core.config.training import TrainConfig
from core.errors import ConfigError
from core.models.registry import build_meta_model, build_model
from core.models.weights_layout import DTYPES

Network = nn.Module | Callable[..., nn.Module]  # a network, or a class or function that makes one
BATCH = 2  # images of the trial call
CPU = torch.device("cpu")


class CustomNetwork(nn.Module):
    """Calls the user's network with the first of x, t and labels, as many as it takes.

    Its `state_dict` is that of the user's network.
    """

    def __init__(self, net: nn.Module, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.inputs = _inputs(net, name)

    @property
    def signature(self) -> str:
        """How it is called."""
        return f"net({', '.join(('x', 't', 'labels')[: self.inputs])})"

    def forward(self, x: Tensor, t: Tensor | float = 0.0, labels: Tensor | None = None) -> Any:
        """Predict from noisy images, (B, C, H, W); returns what the user's network returns."""
        level = t if isinstance(t, Tensor) else x.new_full((len(x),), t)
        return self.net(*(x, level, labels)[: self.inputs])

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The state of the user's network."""
        return self.net.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load a state of the user's network."""
        return self.net.load_state_dict(*args, **kwargs)


def import_network(name: str) -> Network:
    """Import `module:Class`, from the current folder too.

    Raises:
        ConfigError: There is no such module or class, or importing it fails.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    with _reported(f"model: importing {module_name} failed"):
        try:
            network: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(
                f"model: there is no module {error.name} in {os.getcwd()} or among the installed packages"
            ) from None
    for part in attribute.split("."):
        if not hasattr(network, part):
            file = getattr(network, "__file__", None) or module_name
            raise ConfigError(f"model: {file} has no {part}; use --model {module_name}:CLASS")
        network = getattr(network, part)
    if not callable(network):
        raise ConfigError(f"model: {name} is a {type(network).__name__}, not a torch.nn.Module")
    return network  # type: ignore[no-any-return] # what it returns is checked when it is called


def with_network(config: TrainConfig, net: Network | None) -> TrainConfig:
    """The config of a new run of the user's network, which it names; unchanged without one.

    Raises:
        ConfigError: The config names another network, or one of the user's own that is missing.
    """
    if net is None and is_custom(config.model):
        raise ConfigError(missing(config.model, "the run"))
    if net is None or is_custom(config.model):
        return config
    chosen = {name: getattr(config, name) for name in config.model_fields_set}
    if "model" in chosen:
        raise ConfigError(f"model: both {config.model} and a network were passed; leave one out")
    return TrainConfig(**{**chosen, "model": _name(net)})


def missing(model: str, owner: object) -> str:
    """The message for a network of the user's own that was not passed."""
    return (
        f"{owner} has the network {model}, which is not part of minidiff and is imported only on request: "
        f"use --model {model} on the command line, or net= in Python"
    )


def mismatch(model: str) -> str:
    """The message for a network that was passed where the run has one of the registry."""
    return f"the run has the network {model}, but another was passed; leave it out"


def build(config: TrainConfig, net: Network | None, generator: torch.Generator | None = None) -> nn.Module:
    """The network of a config, in float32 on the CPU, with random weights; a network that is passed keeps its weights.

    Args:
        config: The run's options, with the shape of its images.
        net: The user's network, or a class or function that is called with those of `in_channels`, `image_size`
            (height, width) and `classes` that it names.
        generator: For the weights of a network of the registry; None: torch's global generator.

    Raises:
        ConfigError: The network cannot be built or trained, or the config has another.
    """
    if net is None:
        if is_custom(config.model):
            raise ConfigError(missing(config.model, "the run"))
        return build_model(config.model, generator=generator, **config.model_options)
    if not is_custom(config.model):
        raise ConfigError(mismatch(config.model))
    if isinstance(net, CustomNetwork):
        return net
    if not isinstance(net, nn.Module):
        known = {
            "in_channels": config.info.channels,
            "image_size": (config.info.height, config.info.width),
            "classes": config.info.classes,
        }
        seed, failure = mixed_seed(config.seed, WEIGHTS, 0), f"model: {config.model} cannot be built"
        with training_mode(CPU), seeded(seed, CPU), _reported(failure):
            named = inspect.signature(net).parameters
            net = net(**{name: value for name, value in known.items() if name in named})
    if not isinstance(net, nn.Module):
        raise ConfigError(f"model: {config.model} returned a {type(net).__name__}, not a torch.nn.Module")
    _check(net, config.model)
    return CustomNetwork(net.to(CPU), config.model)


def meta_network(config: TrainConfig, net: Network | None) -> nn.Module:
    """A network with the names and shapes of the weights: the user's, or one of the registry on the device `meta`.

    Raises:
        ConfigError: As for `build`.
    """
    if net is not None or is_custom(config.model):
        return build(config, net)
    return build_meta_model(config.model, **config.model_options)


def conditioning(net: CustomNetwork, config: TrainConfig) -> dict[str, bool]:
    """The options of a config that the network cannot follow, turned off."""
    needs = {"time_conditioning": 2, "class_conditional": 3}
    return {name: False for name, inputs in needs.items() if net.inputs < inputs and getattr(config, name)}


def check_call(net: CustomNetwork, config: TrainConfig) -> None:
    """Call the network once, in evaluation mode, as training will.

    Raises:
        ConfigError: The call fails, or the result is not a prediction of the images' shape.
    """
    x = torch.zeros((BATCH, *config.info.shape))
    t = torch.zeros(BATCH)
    labels = torch.zeros(BATCH, dtype=torch.int64) if config.class_conditional else None
    shapes = f"x {tuple(x.shape)}, t {tuple(t.shape)}" + ("" if labels is None else f", labels {tuple(labels.shape)}")
    training, failure = net.training, f"{net.name}: {net.signature} failed, {shapes}"
    net.eval()
    try:
        with training_mode(CPU), torch.no_grad(), seeded(0, CPU), _reported(failure):
            output = net(x, t, labels)
            output = output if isinstance(output, Tensor) else output.sample
    finally:
        net.train(training)
    if not isinstance(output, Tensor) or output.shape != x.shape:
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ConfigError(
            f"{net.name}: {net.signature} returned {found} for images of shape {tuple(x.shape)}; it must return a "
            "prediction of the same shape"
        )


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside the `with` block, for dropout and the like, and restore them after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _reported(failure: str) -> Iterator[None]:
    """Turn an exception of the user's code into one line that says where it was raised."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # the user's code may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "site-packages" not in frame.filename and __file__ != frame.filename]
        place = f" ({os.path.basename(own[-1].filename)}, line {own[-1].lineno})" if own else ""
        text = " ".join(str(error).split())
        raise ConfigError(f"{failure}: {type(error).__name__}{': ' if text else ''}{text}{place}") from error


def _name(net: Network) -> str:
    made = net if not isinstance(net, nn.Module) else type(net)
    return f"{made.__module__}:{getattr(made, '__name__', type(made).__name__)}".replace("<lambda>", "function")


def _inputs(net: nn.Module, name: str) -> int:
    """How many of x, t and labels the network's `forward` takes."""
    parameters = inspect.signature(net.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return 3
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one.name for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    unknown = [one for one in required if one not in [parameter.name for parameter in positional[:3]]]
    if unknown or not positional:
        raise ConfigError(
            f"{name}: forward takes ({', '.join(map(str, parameters))}); it is called as net(x, t, labels), net(x, t) "
            "or net(x)"
        )
    return min(len(positional), 3)


def _check(net: nn.Module, name: str) -> None:
    """Check that a network can be trained and its weights stored."""
    if any(isinstance(weight, nn.UninitializedParameter) for weight in net.parameters()):
        raise ConfigError(f"{name} has lazy layers without shapes; call it once on a batch before training")
    if not any(weight.requires_grad for weight in net.parameters()):
        raise ConfigError(f"{name} has no trainable parameters")
    for key, value in net.state_dict().items():
        is_weight = value.is_floating_point()
        if (is_weight and value.dtype != torch.float32) or value.dtype not in DTYPES:
            raise ConfigError(
                f"{name} has {key} in {str(value.dtype).removeprefix('torch.')}; weights and buffers must be float32, "
                "integer or bool; use net.float(), or register_buffer(..., persistent=False)"
            )
