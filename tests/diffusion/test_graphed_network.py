"""Networks replayed as CUDA graphs when sampling: when they are recorded, and that a wrong recording is not used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from toy_models import colour_model

from core import sample, sample_with_loss
from core.diffusion.graphed_network import EAGER_CALLS, MAX_GRAPHS, GraphedNetwork
from core.diffusion.loaded_model import LoadedModel


class Replayed:
    """Stands for a CUDA graph where there is no GPU: a replay calls the network with the recorded inputs."""

    def __init__(self, work: Callable[[], Tensor]) -> None:
        self._work = work

    def replay(self) -> Tensor:
        return self._work()


class Stale(Replayed):
    """A graph that does not read its inputs."""

    def replay(self) -> Tensor:
        return torch.zeros_like(self._work())


class Impossible(Replayed):
    """A network that cannot be recorded."""

    def __init__(self, work: Callable[[], Tensor]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nSearch for it in the documentation")


class Counted(nn.Module):
    """A network that counts its calls; those of a `Replayed` graph count, too."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls += 1
        output: Tensor = self.net(x, t, labels)
        return output


class GraphedModel(LoadedModel):
    """A model on the CPU whose denoisers use the given network."""

    graphed: GraphedNetwork

    def denoiser(self, labels, guidance=1.0):  # type: ignore[no-untyped-def] # as in the class above
        return replace(super().denoiser(labels, guidance), net=self.graphed)


def graphed_model(record: type[Replayed]) -> GraphedModel:
    plain = colour_model()
    model = GraphedModel(plain.net, plain.config, plain.step, plain.name)
    object.__setattr__(model, "graphed", GraphedNetwork(plain.net, record))  # type: ignore[arg-type] # the same methods
    return model


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("record", [Replayed, Stale, Impossible])
def test_samples_are_those_of_the_network_itself(record: type[Replayed], mode: Callable[[], torch.no_grad]) -> None:
    model = graphed_model(record)
    for n in (2, 3, 2):  # each size has graphs of its own, with guidance and without
        *_, expected = sample(colour_model(), n=n, seed=n)
        with mode():
            *_, last = sample(model, n=n, seed=n)
        assert torch.equal(last.x, expected.x)
    assert (len(model.graphed._graphs) == 4) == (record is Replayed)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (Stale, "the recorded network's output is not that of the network itself"),
        (Impossible, "recording it failed: operation not permitted when stream is capturing"),
    ],
)
def test_a_recording_that_cannot_be_used_is_explained_and_not_tried_again(record: type[Replayed], problem: str) -> None:
    net = Counted(colour_model().net)
    graphed = GraphedNetwork(net, record)  # type: ignore[arg-type] # has the same methods
    x, t = torch.rand(2, 3, 16, 12), torch.ones(2)
    with torch.no_grad():
        for _ in range(EAGER_CALLS + 1):
            graphed(x, t, None)
        assert graphed.problem == problem
        before = net.calls
        graphed(x, t, None)
    assert net.calls == before + 1


def test_a_graph_is_recorded_once_for_inputs_of_one_shape_and_few_are_kept() -> None:
    recorded = []

    def record(work: Callable[[], Tensor]) -> Replayed:
        recorded.append(work)
        return Replayed(work)

    graphed = GraphedNetwork(colour_model().net, record)  # type: ignore[arg-type] # has the same methods
    with torch.no_grad():
        for _ in range(EAGER_CALLS + 3):
            for n in range(1, MAX_GRAPHS + 4):
                graphed(torch.rand(n, 3, 16, 12), torch.ones(n), None)
    assert len(recorded) == MAX_GRAPHS


def test_a_gradient_through_the_network_does_not_use_a_graph() -> None:
    model = graphed_model(Replayed)
    for _ in sample(model, n=2):
        pass
    assert model.graphed._graphs
    *_, guided = sample_with_loss(model, lambda denoised: denoised.square().sum((1, 2, 3)), n=2, scale=5.0)
    *_, expected = sample_with_loss(colour_model(), lambda denoised: denoised.square().sum((1, 2, 3)), n=2, scale=5.0)
    assert torch.equal(guided.x, expected.x)
