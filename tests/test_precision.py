"""Which numbers a net computes in."""

from __future__ import annotations

import pytest
import torch

from core.precision import in_precision, pick_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_was_asked_for_is_taken(asked: str) -> None:
    assert pick_precision(asked, CPU) == asked


def test_auto_decides_for_one_of_the_two_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert pick_precision("auto", CPU) in ("float32", "bfloat16")
    assert torch.equal(torch.rand(2), expected)


def test_layers_compute_in_the_precision_and_keep_their_weights() -> None:
    layer, x = torch.nn.Linear(4, 4), torch.rand(2, 4)
    with in_precision("bfloat16", CPU):
        assert layer(x).dtype == torch.bfloat16
    with in_precision("float32", CPU):
        assert layer(x).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
