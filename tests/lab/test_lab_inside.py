"""Feature maps, attention, kernels, receptive fields and skips of all three networks, without changing them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from core import BasicUNet, MinidiffError, build_model, feature_maps, receptive_field
from core.lab import attention_maps, layer_kernels, without_skips

OPTIONS: dict[str, dict[str, Any]] = {
    "patch_unet": {"channels": (16, 32)},
    "basic_unet": {"channels": (4, 6, 8)},
    "unet2d": {"channels": (32, 32), "layers_per_block": 1},
}
each_net = pytest.mark.parametrize("name", OPTIONS)
X = torch.rand((2, 1, 28, 28), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    built = {name: build_model(name, **options).eval() for name, options in OPTIONS.items()}
    with torch.no_grad():
        for parameter in built["patch_unet"].parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return built


def hooks_on(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in net.modules())


@each_net
def test_every_executed_leaf_layer_has_an_output(name: str, nets: dict[str, nn.Module]) -> None:
    net = nets[name]
    leaves = {leaf for leaf, module in net.named_modules() if not list(module.children())}
    maps = feature_maps(net, X, 0.5)
    assert {key.partition("#")[0] for key in maps} <= leaves
    assert {leaf for leaf, module in net.named_modules() if isinstance(module, nn.Conv2d)} <= set(maps)
    assert all(value.dtype == torch.float32 and not value.requires_grad and len(value) == 2 for value in maps.values())
    assert hooks_on(net) == sum(isinstance(module, nn.GroupNorm) for module in net.modules()) * (name == "unet2d")


def test_activations_are_the_layer_outputs_in_execution_order(nets: dict[str, nn.Module]) -> None:
    net = nets["basic_unet"]
    assert isinstance(net, BasicUNet)
    maps = feature_maps(net, X)
    assert list(maps) == [f"{way}.{level}" for way in ("down", "up") for level in range(3)]
    assert torch.equal(maps["down.0"], net.down[0](X))
    pooled = functional.max_pool2d(functional.silu(maps["down.0"]), 2)
    torch.testing.assert_close(maps["down.1"], net.down[1](pooled), rtol=0, atol=1e-5)
    torch.testing.assert_close(functional.silu(maps["up.2"]), net(X), rtol=0, atol=1e-5)


def test_a_second_call_of_a_layer_is_numbered(nets: dict[str, nn.Module]) -> None:
    maps = feature_maps(nets["unet2d"], X, 0.5)
    twice = [key for key in maps if key.endswith("#2")]
    assert twice
    assert all(key.removesuffix("#2") in maps for key in twice)


@each_net
def test_layers_and_containers_can_be_selected_by_name(name: str, nets: dict[str, nn.Module]) -> None:
    net = nets[name]
    layer_name = {"patch_unet": "middle.1", "basic_unet": "up.1", "unet2d": "unet.down_blocks.1"}[name]
    assert list(feature_maps(net, X, 0.5, layers=[layer_name])) == [layer_name]
    (whole,) = feature_maps(net, X, 0.5, layers=[""]).values()
    with torch.no_grad():
        torch.testing.assert_close(whole, net(X, 0.5), rtol=0, atol=1e-5)
    with pytest.raises(MinidiffError, match=r"no layer 'down\.9'"):
        feature_maps(net, X, layers=["down.9"])


def test_noise_level_and_labels_are_passed_to_the_network(nets: dict[str, nn.Module]) -> None:
    net = nets["patch_unet"]
    plain = feature_maps(net, X, 0.2)["out"]
    assert not torch.equal(plain, feature_maps(net, X, 0.9)["out"])
    assert not torch.equal(plain, feature_maps(net, X, torch.tensor([0.2, 0.2]), torch.tensor([1, 2]))["out"])


@each_net
def test_no_hook_remains_after_an_error(name: str, nets: dict[str, nn.Module]) -> None:
    net = nets[name]
    before = hooks_on(net)
    for wrong in (torch.rand(1, 3, 28, 28), torch.rand(1, 1, 27, 27)):
        for look in (feature_maps, lambda net, x: receptive_field(net, x, (0, 0))):
            if name != "basic_unet" and wrong.shape[2] == 27:
                continue  # patch_unet pads it, and the diffusers network rounds
            with pytest.raises(MinidiffError, match="cannot run on shape") as error:
                look(net, wrong)
            assert len(str(error.value).splitlines()) == 1
    with pytest.raises(MinidiffError, match="needs shape \\(B, C, H, W\\)"):
        feature_maps(net, torch.rand(28, 28))
    assert hooks_on(net) == before


def test_attention_weights_times_values_give_the_module_output(nets: dict[str, nn.Module]) -> None:
    net, x = nets["unet2d"], X[:1]
    maps = attention_maps(net, x, 0.5)
    assert maps
    for name, weights in maps.items():
        attention = net.get_submodule(name)
        parts = feature_maps(net, x, 0.5, layers=[name, f"{name}.to_v", f"{name}.to_out.0", f"{name}.to_q"])
        heads, queries, keys = weights.shape
        assert (heads, queries) == (attention.heads, keys)
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(heads, queries), rtol=0, atol=1e-5)
        values = parts[f"{name}.to_v"][0].reshape(keys, heads, -1).transpose(0, 1)
        mixed = (weights @ values).transpose(0, 1).reshape(1, queries, -1)
        with torch.no_grad():
            out = attention.get_submodule("to_out.0")(mixed)
        torch.testing.assert_close(out, parts[f"{name}.to_out.0"], rtol=0, atol=1e-5)


def test_networks_without_attention_have_no_attention_maps(nets: dict[str, nn.Module]) -> None:
    assert attention_maps(nets["basic_unet"], X[:1]) == attention_maps(nets["patch_unet"], X[:1], 0.5) == {}
    with pytest.raises(MinidiffError, match="attention maps need one image, not 2"):
        attention_maps(nets["basic_unet"], X)


@each_net
def test_kernels_are_the_weights_of_the_convolutions(name: str, nets: dict[str, nn.Module]) -> None:
    net = nets[name]
    kernels = layer_kernels(net)
    assert len(kernels) == sum(isinstance(module, nn.Conv2d) for module in net.modules())
    for layer, weight in kernels.items():
        assert torch.equal(weight, net.get_submodule(layer).weight)
        assert not weight.requires_grad


# Rows of the image that row `at` of the BasicUNet output depends on, by hand: a 5x5 convolution adds 2 on each
# side, upsampling halves the row index, pooling uses rows 2 r and 2 r + 1. The deepest branch reaches furthest.
#   one level:    up [-4, 4] around it in two convolutions
#   two levels:   14 -> [12, 16] -> half [6, 8] -> [2, 12] in two -> full [4, 25] -> [2, 27]
#   three levels: 48 -> [46, 50] -> half [23, 25] -> [21, 27] -> quarter [10, 13] -> [6, 17] in two -> half [12, 35]
#                 -> [10, 37] -> full [20, 75] -> [18, 77]
@pytest.mark.parametrize(
    ("channels", "size", "at", "first", "last"),
    [((8,), 28, 14, 10, 18), ((8, 8), 32, 14, 2, 27), ((8, 8, 8), 96, 48, 18, 77)],
)
def test_the_receptive_field_of_a_basic_unet_ends_where_its_kernels_do(
    channels: tuple[int, ...], size: int, at: int, first: int, last: int
) -> None:
    torch.manual_seed(0)
    field = receptive_field(BasicUNet(channels=channels), torch.rand(1, 1, size, size), (at, at))
    assert field.shape == (size, size)
    reached = field.nonzero()
    assert reached.min() >= first
    assert reached.max() <= last
    assert field[at, at] > 0
    if len(channels) == 1:  # without pooling no row is dropped
        assert (int(reached.min()), int(reached.max())) == (first, last)


@pytest.mark.parametrize("name", ["patch_unet", "unet2d"])
def test_with_normalisation_the_receptive_field_is_the_whole_image(name: str, nets: dict[str, nn.Module]) -> None:
    field = receptive_field(nets[name], X[:1], (14, 14), 0.5)
    assert (field > 0).float().mean() > 0.99
    assert field[10:19, 10:19].mean() > field.mean()


@each_net
def test_a_receptive_field_is_the_input_gradient_and_does_not_change_the_network(
    name: str, nets: dict[str, nn.Module]
) -> None:
    net, x = nets[name], X[:1].clone()
    before = [(parameter.requires_grad, parameter.grad) for parameter in net.parameters()]
    with torch.no_grad():
        field = receptive_field(net, x, (9, 12), 0.5)
        moved = x.clone()
        moved[0, 0, 10, 12] += 1e-2
        slope = (net(moved, 0.5) - net(x, 0.5))[0, 0, 9, 12].abs() / 1e-2
    assert float(field[10, 12]) == pytest.approx(float(slope), rel=0.1, abs=1e-3)
    assert [(parameter.requires_grad, parameter.grad) for parameter in net.parameters()] == before
    assert not x.requires_grad


def test_a_receptive_field_is_of_one_pixel_of_one_image(nets: dict[str, nn.Module]) -> None:
    with pytest.raises(MinidiffError, match="one image, not 2"):
        receptive_field(nets["basic_unet"], X, (0, 0))
    with pytest.raises(MinidiffError, match="within 28 by 28 pixels, not 28, 0"):
        receptive_field(nets["basic_unet"], X[:1], (28, 0))


@each_net
def test_without_skips_changes_the_output_and_restores_the_skips_after_an_exception(
    name: str, nets: dict[str, nn.Module]
) -> None:
    net = nets[name]
    hooks = hooks_on(net)
    with torch.no_grad():
        whole = net(X, 0.5)
        with without_skips(net):
            cut = net(X, 0.5)
        with pytest.raises(KeyError), without_skips(net):
            raise KeyError
        assert net.skips is True
        assert hooks_on(net) == hooks
        assert not torch.allclose(whole, cut, atol=1e-4)
        assert torch.equal(net(X, 0.5), whole)


def test_a_network_without_skip_connections_is_refused() -> None:
    with pytest.raises(MinidiffError, match="Linear has no skip connections"), without_skips(nn.Linear(1, 1)):
        pass
