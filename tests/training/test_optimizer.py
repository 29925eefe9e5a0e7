"""The optimizers: Muon against torch.optim.Muon, learning-rate schedules, and skipped steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from core.config.training import TrainConfig
from core.errors import CheckpointError
from core.models.registry import build_model
from core.training.muon import Muon, orthogonalized
from core.training.optimizer import Optimizer, warmup_steps


def tiny_net() -> nn.Module:
    torch.manual_seed(0)
    return build_model("patch_unet", channels=(16, 16)).to(memory_format=torch.channels_last)


def optimizer(net: nn.Module, **options: Any) -> Optimizer:
    return Optimizer(net, TrainConfig(**options))


def give_gradients(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(8, 32), (32, 8), (16, 16)])
def test_orthogonalized_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrices = torch.randn((3, *shape), generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalized(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_zero_gradient_changes_nothing() -> None:
    assert not orthogonalized(torch.zeros(1, 4, 6)).any()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
@pytest.mark.parametrize("shape", [(16, 48), (48, 16)])
def test_muon_matches_torch(shape: tuple[int, int]) -> None:
    """torch's version updates matrices one by one; five steps agree within 1e-5 of the weights' size."""
    generator = torch.Generator().manual_seed(0)
    ours = nn.Parameter(torch.randn(shape, generator=generator))
    theirs = nn.Parameter(ours.detach().clone())
    muon = Muon([ours], momentum=0.95, weight_decay=0.1)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original")
    for _ in range(5):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step(0.02, torch.tensor(True))
        reference.step()
    assert float((ours - theirs).detach().norm() / theirs.detach().norm()) < 1e-5


def test_muon_updates_stacked_weights_independently() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (nn.Parameter(torch.randn(8, 4, 3, 3, generator=generator)) for _ in range(2))
    alone = nn.Parameter(second.detach().clone())
    for parameter in (first, second):
        parameter.grad = torch.randn(8, 4, 3, 3, generator=generator)
    alone.grad = second.grad.clone() if second.grad is not None else None
    Muon([first, second], momentum=0.9, weight_decay=0).step(0.1, torch.tensor(True))
    Muon([alone], momentum=0.9, weight_decay=0).step(0.1, torch.tensor(True))
    torch.testing.assert_close(second, alone, rtol=0, atol=1e-5)


def test_the_learning_rate_warms_up_and_then_decays() -> None:
    scheduled = optimizer(tiny_net(), learning_rate=1e-2, warmup_steps=10, lr_schedule="linear")
    assert scheduled.rate(0, 100) == pytest.approx(1e-3)
    assert scheduled.rate(9, 100) == pytest.approx(1e-2 * 0.91)
    assert scheduled.rate(50, 100) == pytest.approx(5e-3)
    assert scheduled.rate(100, 100) == 0
    steady = optimizer(tiny_net(), learning_rate=1e-2, warmup_steps=0, lr_schedule="constant")
    assert {steady.rate(step, 100) for step in (0, 50, 99)} == {1e-2}


DEFAULT_LENGTH = 5 * 938  # steps: 60,000 images in batches of 64, five times


@pytest.mark.parametrize(("total", "steps"), [(1, 0), (16, 0), (64, 3), (188, 9), (2_000, 100), (DEFAULT_LENGTH, 100)])
def test_warmup_is_at_most_a_twentieth_of_a_short_run(total: int, steps: int) -> None:
    assert warmup_steps(TrainConfig(), total) == steps
    assert TrainConfig().warmup_steps is None


def test_the_default_schedule_at_the_default_length_has_100_warmup_steps() -> None:
    default, explicit = (
        optimizer(tiny_net(), preset="default"),
        optimizer(tiny_net(), preset="default", warmup_steps=100),
    )
    steps = range(DEFAULT_LENGTH + 1)
    assert all(default.rate(step, DEFAULT_LENGTH) == explicit.rate(step, DEFAULT_LENGTH) for step in steps)


@pytest.mark.parametrize(
    "config", [TrainConfig(warmup_steps=100), TrainConfig(preset="quick"), TrainConfig(warmup_steps=0)]
)
def test_an_explicit_warmup_or_one_in_the_config_of_an_older_run_is_kept(config: TrainConfig) -> None:
    assert warmup_steps(config, 16) == config.warmup_steps


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_non_finite_step_leaves_the_weights_unchanged(kind: str, broken: str) -> None:
    net = tiny_net()
    chosen = optimizer(net, optimizer=kind)
    give_gradients(net, 0)
    assert bool(chosen.step(torch.tensor(1.0), chosen.rate(0, 100)))
    before = [parameter.detach().clone() for parameter in net.parameters()]
    give_gradients(net, 1)
    loss = torch.tensor(torch.nan if broken == "loss" else 1.0)
    if broken == "gradient":
        gradient = next(net.parameters()).grad
        assert gradient is not None
        gradient.view(-1)[0] = torch.inf
    assert not bool(chosen.step(loss, chosen.rate(1, 100)))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    give_gradients(net, 2)
    assert bool(chosen.step(torch.tensor(1.0), chosen.rate(2, 100)))
    assert all(bool(parameter.isfinite().all()) for parameter in net.parameters())


@pytest.mark.parametrize("kind", ["adam", "adamw", "muon"])
def test_a_restored_optimizer_takes_the_same_steps(kind: str) -> None:
    """Also for channels-last weights, while moments read from a file are contiguous."""
    nets = [tiny_net(), tiny_net()]
    first, second = (optimizer(net, optimizer=kind) for net in nets)
    for step in range(3):
        give_gradients(nets[0], step)
        first.step(torch.tensor(1.0), first.rate(step, 10))
    nets[1].load_state_dict(nets[0].state_dict())
    saved = {name: value.clone(memory_format=torch.contiguous_format) for name, value in first.state().items()}
    second.restore(saved, 3)
    for net, chosen in zip(nets, (first, second), strict=True):
        give_gradients(net, 3)
        chosen.step(torch.tensor(1.0), chosen.rate(3, 10))
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_the_state_of_another_network_is_refused() -> None:
    net = tiny_net()
    saved = optimizer(net, optimizer="muon")
    give_gradients(net, 0)
    saved.step(torch.tensor(1.0), saved.rate(0, 10))
    other = optimizer(build_model("patch_unet", channels=(32, 16)), optimizer="muon")
    with pytest.raises(CheckpointError, match="another model"):
        other.restore(saved.state(), 1)


def test_muon_updates_only_hidden_convolutions() -> None:
    net = tiny_net()
    chosen = optimizer(net, optimizer="muon")
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    moved = {names[id(parameter)] for parameter in chosen.hidden}
    assert {"down.0.conv_in.weight", "shrink.weight", "grow.weight", "up.0.skip.weight"} <= moved
    assert not moved & {"into.weight", "out.weight", "class_embed.weight", "down.0.film.weight", "norm.weight"}
