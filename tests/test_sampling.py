"""The sampler against the document's loop written out plainly, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from core import BasicUNet, MinidiffError, load_model, sample
from core.sampling import SampleStep


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return BasicUNet(channels=(4, 4)).eval()


def plain_loop(net: nn.Module, x: Tensor, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """The document's section 3.6: every state and every prediction."""
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
def test_records_match_the_plain_loop(net: nn.Module, steps: int) -> None:
    records = list(sample(net, n=3, steps=steps, seed=5))
    states, predictions = plain_loop(net, records[0].x, steps)
    assert [record.index for record in records] == list(range(steps + 1))
    for record, state in zip(records, states, strict=True):
        torch.testing.assert_close(record.x, state, atol=1e-6, rtol=0)
    assert records[0].prediction is None
    for record, prediction in zip(records[1:], predictions, strict=True):
        assert record.prediction is not None
        torch.testing.assert_close(record.prediction, prediction, atol=1e-6, rtol=0)


def test_the_last_state_is_the_last_prediction_exactly(net: nn.Module) -> None:
    *_, last = sample(net, n=2, steps=9)
    assert last.prediction is not None
    assert torch.equal(last.x, last.prediction)


def test_each_step_removes_an_equal_share_of_the_noise(net: nn.Module) -> None:
    amounts = [record.amount for record in sample(net, n=1, steps=4)]
    assert amounts == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert amounts[-1] == 0


def test_a_seed_means_one_picture_and_another_seed_another(net: nn.Module) -> None:
    def last(seed: int) -> Tensor:
        return list(sample(net, n=2, steps=2, seed=seed))[-1].x

    assert torch.equal(last(3), last(3))
    assert not torch.equal(last(3), last(4))
    assert not torch.equal(last(-1), last(1))


def test_the_noise_is_uniform_drawn_on_the_cpu_and_leaves_the_global_generator_alone(net: nn.Module) -> None:
    before = torch.random.get_rng_state()
    first = next(sample(net, n=64, seed=7)).x
    assert torch.equal(first, torch.rand((64, 1, 28, 28), generator=torch.Generator().manual_seed(7)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_more_images_of_a_seed_begin_with_the_same_ones(net: nn.Module) -> None:
    few, many = (next(sample(net, n=n, seed=1)).x for n in (2, 5))
    assert torch.equal(few, many[:2])


def test_a_given_start_is_denoised_from_its_own_amount(net: nn.Module) -> None:
    start = torch.rand(2, 1, 28, 28)
    kept = start.clone()
    records = list(sample(net, n=99, steps=4, start=start, start_amount=0.5))
    assert len(records) == 5
    assert torch.equal(records[0].x, start)
    assert [record.amount for record in records] == pytest.approx([0.5, 0.375, 0.25, 0.125, 0])
    torch.testing.assert_close(records[-1].x, plain_loop(net, start, 4)[0][-1], atol=1e-6, rtol=0)
    assert torch.equal(start, kept)


def test_the_callers_grad_mode_is_untouched_between_records(net: nn.Module) -> None:
    for record in sample(net, n=1, steps=2):
        assert torch.is_grad_enabled()
        assert not record.x.requires_grad
    with torch.no_grad():
        for _ in sample(net, n=1, steps=2):
            assert not torch.is_grad_enabled()


def test_a_net_that_wraps_its_result_is_understood() -> None:
    class Wrapping(nn.Module):
        def forward(self, x: Tensor, timestep: int) -> object:
            return type("Result", (), {"sample": x * 0 + 0.25})

    *_, last = sample(Wrapping(), n=1, steps=3)
    assert torch.equal(last.x, torch.full((1, 1, 28, 28), 0.25))


def test_a_loaded_model_gives_what_its_net_gives(finished_run: Path) -> None:
    loaded = load_model(finished_run, device="cpu")
    *_, a = sample(loaded, n=2, steps=3, seed=1)
    *_, b = sample(loaded.net, n=2, steps=3, seed=1)
    assert torch.equal(a.x, b.x)


def test_the_net_is_asked_at_timestep_zero_once_a_step() -> None:
    asked = []

    class Listening(nn.Module):
        def forward(self, x: Tensor, timestep: object) -> Tensor:
            asked.append(timestep)
            return x

    list(sample(Listening(), n=1, steps=5))
    assert asked == [0] * 5


START = torch.rand(2, 1, 28, 28)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"steps": -4}, "steps must be at least 1, not -4"),
        ({"n": 0}, "n must be at least 1"),
        ({"n": -1}, "n must be at least 1"),
        ({"start": START, "start_amount": 0.0}, "start_amount"),
        ({"start": START, "start_amount": 1.5}, "start_amount"),
        ({"start": START, "start_amount": float("nan")}, "start_amount"),
        ({"start_amount": 0.5}, "give `start` too"),
        ({"start": START[0]}, "shape"),
        ({"start": START[:0]}, "shape"),
        ({"start": torch.rand(2, 3, 28, 28)}, "shape"),
        ({"start": torch.rand(2, 1, 32, 32)}, "shape"),
        ({"start": (START * 255).byte()}, "divide bytes by 255"),
    ],
)
def test_bad_input_is_refused_before_the_first_record(net: nn.Module, options: dict[str, object], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        sample(net, **options)  # type: ignore[arg-type]


def test_running_out_of_memory_says_to_ask_for_fewer() -> None:
    class Greedy(nn.Module):
        def forward(self, x: Tensor, timestep: int) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(MinidiffError, match="smaller n"):
        list(sample(Greedy(), n=1, steps=1))


def test_other_errors_of_a_net_are_not_hidden() -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor, timestep: int) -> Tensor:
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        list(sample(Wrong(), n=1, steps=1))


def test_it_is_a_generator_that_can_be_left(net: nn.Module) -> None:
    walk: Iterator[SampleStep] = sample(net, n=1, steps=1000)
    next(walk)
    next(walk)
    walk.close()  # type: ignore[attr-defined]
