"""The layer table: order, shapes, totals and costs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core import MinidiffError, build_model, layer_table


@pytest.fixture(scope="module", params=["patch_unet", "basic_unet", "unet2d"])
def net(request: pytest.FixtureRequest) -> nn.Module:
    return build_model(request.param)


def test_every_module_has_a_row_in_tree_order_and_parameters_add_up(net: nn.Module) -> None:
    rows = layer_table(net)
    assert [row.name for row in rows] == [name for name, _ in net.named_modules()]
    assert rows[0].parameters == sum(parameter.numel() for parameter in net.parameters())
    assert (rows[0].name, rows[0].depth, rows[0].kind, rows[0].shape) == ("", 0, type(net).__name__, (1, 28, 28))
    for row in rows:
        module = net.get_submodule(row.name)
        assert row.kind == type(module).__name__
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        inside = [other for other in rows if other.name.startswith(f"{row.name}." if row.name else "")]
        children = [other for other in inside if other.depth == row.depth + 1]
        assert row.parameters == own + sum(other.parameters for other in children)
        assert row.operations >= sum(other.operations for other in children)
        if not isinstance(module, nn.ModuleList):
            assert row.shape is not None or not children


def test_a_convolution_costs_two_operations_per_weight_and_pixel(net: nn.Module) -> None:
    rows = layer_table(net)
    convolutions = [row for row in rows if row.kind == "Conv2d"]
    assert convolutions
    for row in convolutions:
        assert row.shape is not None
        weight = net.get_submodule(row.name).weight
        assert row.operations == 2 * weight.numel() * row.shape[1] * row.shape[2]


def test_the_table_of_a_basic_unet() -> None:
    rows = layer_table(build_model("basic_unet", channels=(4, 6)), (1, 8, 12))
    assert [(row.name, row.shape, row.parameters, row.operations) for row in rows] == [
        ("", (1, 8, 12), 104 + 606 + 604 + 101, 2 * (100 * 96 + 600 * 24 + 600 * 24 + 100 * 96)),
        ("down", None, 104 + 606, 2 * (100 * 96 + 600 * 24)),
        ("down.0", (4, 8, 12), 104, 2 * 100 * 96),
        ("down.1", (6, 4, 6), 606, 2 * 600 * 24),
        ("up", None, 604 + 101, 2 * (600 * 24 + 100 * 96)),
        ("up.0", (4, 4, 6), 604, 2 * 600 * 24),
        ("up.1", (1, 8, 12), 101, 2 * 100 * 96),
    ]


def test_attention_costs_include_the_query_key_products() -> None:
    net = build_model("unet2d", channels=(32, 32), layers_per_block=1)
    rows = {row.name: row for row in layer_table(net)}
    (attention,) = [row for row in rows.values() if row.kind == "Attention" and "down" in row.name]
    places, width = 14 * 14, 32
    assert attention.operations == 2 * places * width * (4 * width + 2 * places)


def test_a_table_does_not_change_the_network() -> None:
    net = build_model("basic_unet", channels=(4,))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    layer_table(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_an_image_of_unsupported_size_is_refused() -> None:
    with pytest.raises(MinidiffError, match=r"BasicUNet cannot run on shape \(1, 3, 28, 28\)"):
        layer_table(build_model("basic_unet"), (3, 28, 28))
