"""The networks: sizes, shapes and options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from core import BasicUNet, MinidiffError, TrainConfig, build_model
from core.compute.precision import in_precision
from core.config.training import ModelName
from core.lab.hooks import without_skips
from core.models import registry
from core.models.registry import MODEL_NAMES


def size(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.fixture(scope="module")
def unet2d() -> nn.Module:
    return build_model("unet2d")


def test_basic_unet_has_309057_parameters() -> None:
    assert size(BasicUNet()) == 309_057
    assert size(build_model("basic_unet")) == 309_057


def test_unet2d_has_1707009_parameters(unet2d: nn.Module) -> None:
    assert size(unet2d) == 1_707_009


def test_unet2d_in_bfloat16_on_a_cpu_computes_attention_and_norms_in_float32(unet2d: nn.Module) -> None:
    dtypes: dict[str, set[torch.dtype]] = {}

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        dtypes.setdefault(type(module).__name__, set()).add(output.dtype)

    hooks = [module.register_forward_hook(note) for module in unet2d.modules() if not list(module.children())]
    hooks += [module.register_forward_hook(note) for module in unet2d.modules() if isinstance(module, Attention)]
    try:
        with torch.no_grad(), in_precision("bfloat16", torch.device("cpu")):
            unet2d(torch.rand((2, 1, 28, 28)), 0.5)
    finally:
        for hook in hooks:
            hook.remove()
    assert dtypes["Conv2d"] == {torch.bfloat16}
    assert dtypes["GroupNorm"] == dtypes["Attention"] == {torch.float32}


def test_the_config_offers_exactly_the_registered_models() -> None:
    from typing import get_args

    assert get_args(ModelName) == MODEL_NAMES


@pytest.mark.parametrize("batch", [1, 3])
def test_basic_unet_keeps_the_shape(batch: int) -> None:
    net = BasicUNet()
    assert net(torch.rand(batch, 1, 28, 28), 0).shape == (batch, 1, 28, 28)
    assert net(torch.rand(batch, 1, 28, 28)).shape == (batch, 1, 28, 28)


def test_unet2d_keeps_the_shape_and_takes_a_noise_level(unet2d: nn.Module) -> None:
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        at_0, at_half = unet2d(x, 0), unet2d(x, torch.tensor([0.5, 0.5]))
    assert isinstance(at_0, torch.Tensor)
    assert at_0.shape == x.shape
    assert not torch.equal(at_0, at_half)


def test_unet2d_with_classes_takes_labels_and_none_is_the_null_class() -> None:
    net = build_model("unet2d", channels=(32,), layers_per_block=1, classes=10)
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        labelled, none, null = (net(x, 0.5, y) for y in (torch.tensor([3, 4]), None, torch.tensor([10, 10])))
    assert torch.equal(none, null)
    assert not torch.equal(labelled, null)


def nonzero_patch_unet(**options: Any) -> nn.Module:
    """A PatchUNet with non-zero weights in its zero-initialized layers, so that every input has an effect."""
    torch.manual_seed(0)
    net = build_model("patch_unet", **options)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return net.eval()


@pytest.mark.parametrize(("size_name", "parameters"), [("tiny", 301_828), ("small", 606_276), ("base", 1_021_828)])
def test_patch_unet_sizes(size_name: str, parameters: int) -> None:
    assert size(build_model("patch_unet", **TrainConfig(size=size_name).model_options)) == parameters


def test_an_untrained_patch_unet_outputs_0() -> None:
    net = build_model("patch_unet", channels=(16, 16))
    assert not net(torch.rand(2, 1, 28, 28), torch.tensor([0.1, 0.9]), torch.tensor([1, 2])).any()


def test_patch_unet_keeps_the_shape_and_depends_on_noise_level_and_class() -> None:
    net, x = nonzero_patch_unet(channels=(16, 16)), torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        first = net(x, torch.full((3,), 0.3), torch.tensor([1, 2, 3]))
        assert first.shape == x.shape
        assert not torch.equal(first, net(x, torch.full((3,), 0.31), torch.tensor([1, 2, 3])))
        other = net(x, torch.full((3,), 0.3), torch.tensor([1, 2, 4]))
    assert torch.equal(first[:2], other[:2])
    assert not torch.equal(first[2], other[2])


def test_patch_unet_takes_a_scalar_noise_level_and_no_label_is_the_null_class() -> None:
    net, x = nonzero_patch_unet(channels=(16, 16)), torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(net(x, 0.5), net(x, torch.tensor([0.5, 0.5]), torch.tensor([10, 10])))


def test_patch_unet_in_channels_last_matches_the_default_layout() -> None:
    net, x = nonzero_patch_unet(channels=(16, 32)), torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        expected = net(x, 0.5)
        found = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), 0.5)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_patch_unet_takes_other_numbers_of_blocks() -> None:
    net = build_model("patch_unet", channels=(16, 16), blocks=(2, 1, 3))
    assert net(torch.rand(1, 1, 28, 28), 0.5).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 27, 33), (3, 8, 61), (3, 64, 64)])
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_patch_unet_takes_any_size(shape: tuple[int, int, int], levels: int) -> None:
    net = nonzero_patch_unet(in_channels=shape[0], out_channels=shape[0], channels=(16,) * levels, classes=3)
    x = torch.rand(2, *shape)
    with torch.no_grad():
        found = net(x, 0.5, torch.tensor([0, 3]))
        assert found.shape == x.shape
        padded = functional.pad(x, (0, 64 - shape[2], 0, 64 - shape[1]), mode="replicate")
        if max(shape[1:]) == 64:
            torch.testing.assert_close(found, net(padded, 0.5, torch.tensor([0, 3])))


@pytest.mark.parametrize("levels", [2, 3])
def test_without_skips_only_the_coarsest_level_decides_the_prediction(levels: int) -> None:
    net, x = nonzero_patch_unet(channels=(16,) * levels), torch.rand(2, 1, 32, 32)
    coarsest = net
    for _ in range(levels - 2):
        coarsest = coarsest.middle[0]
    for parameter in (coarsest.shrink.weight, coarsest.shrink.bias, *coarsest.middle.parameters()):
        parameter.data.zero_()
    with torch.no_grad(), without_skips(net):
        first, second = net(x, 0.5)
    torch.testing.assert_close(first, second)  # neither image reaches the output


def test_basic_unet_ignores_the_timestep() -> None:
    net, x = BasicUNet(), torch.rand(2, 1, 28, 28)
    assert torch.equal(net(x, 0), net(x, torch.tensor([5, 999])))


def test_basic_unet_is_the_network_of_the_tutorial() -> None:
    """The reference: conv, SiLU; pool; conv, SiLU; pool; conv, SiLU; conv, SiLU; up + skip; ... the last SiLU."""
    net, x = BasicUNet(), torch.rand(2, 1, 28, 28)
    silu, pool = nn.SiLU(), nn.MaxPool2d(2)
    up = nn.Upsample(scale_factor=2)
    first = silu(net.down[0](x))
    second = silu(net.down[1](pool(first)))
    bottom = silu(net.down[2](pool(second)))
    y = silu(net.up[0](bottom))
    y = silu(net.up[1](up(y) + second))
    y = silu(net.up[2](up(y) + first))
    torch.testing.assert_close(net(x), y, atol=1e-6, rtol=0)
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.padding) for c in (*net.down, *net.up)] == [
        (a, b, (5, 5), (2, 2)) for a, b in ((1, 32), (32, 64), (64, 64), (64, 64), (64, 32), (32, 1))
    ]


def answer_and_gradients(net: nn.Module, answer: Tensor) -> list[Tensor]:
    return [answer.detach(), *torch.autograd.grad(answer.square().sum(), list(net.parameters()), allow_unused=True)]


def test_a_basic_unet_with_skips_adds_them_bit_for_bit() -> None:
    net, x = BasicUNet(channels=(4, 6, 8)), torch.rand(2, 1, 28, 28)
    silu, pool = functional.silu, functional.max_pool2d
    first = silu(net.down[0](x))
    second = silu(net.down[1](pool(first, 2)))
    y = silu(net.up[0](silu(net.down[2](pool(second, 2)))))
    y = silu(net.up[1](functional.interpolate(y, scale_factor=2, mode="nearest") + second))
    y = silu(net.up[2](functional.interpolate(y, scale_factor=2, mode="nearest") + first))
    pairs = zip(answer_and_gradients(net, y), answer_and_gradients(net, net(x)), strict=True)
    assert all(torch.equal(expected, found) for expected, found in pairs)


def test_a_patch_unet_with_skips_joins_them_bit_for_bit() -> None:
    net, x = nonzero_patch_unet(channels=(16, 32)), torch.rand(2, 1, 28, 28)
    embedding = net._embed(x, 0.5, None)
    kept = net.down[0](net.into(functional.pixel_unshuffle(x, 2)), embedding)
    y = net.shrink(kept)
    for block in net.middle:
        y = block(y, embedding)
    y = net.up[0](torch.cat([functional.pixel_shuffle(net.grow(y), 2), kept], dim=1), embedding)
    y = functional.pixel_shuffle(net.out(functional.silu(net.norm(y))), 2)
    pairs = zip(answer_and_gradients(net, y), answer_and_gradients(net, net(x, 0.5)), strict=True)
    assert all(torch.equal(expected, found) for expected, found in pairs)


def test_a_unet2d_with_skips_matches_diffusers_bit_for_bit() -> None:
    net, x = build_model("unet2d", channels=(32,), layers_per_block=1), torch.rand(2, 1, 28, 28)
    y = net.unet(x, 500.0, return_dict=False)[0]
    pairs = zip(answer_and_gradients(net, y), answer_and_gradients(net, net(x, 0.5)), strict=True)
    assert all(torch.equal(expected, found) for expected, found in pairs)


def test_without_skips_the_decoder_sees_the_input_only_through_the_bottleneck() -> None:
    """The reference: nothing is added, or zeros replace the skip connections."""
    basic, patch, x = BasicUNet(channels=(4, 6)), nonzero_patch_unet(channels=(16, 32)), torch.rand(2, 1, 28, 28)
    basic.skips = patch.skips = False
    silu = functional.silu
    y = silu(basic.up[0](silu(basic.down[1](functional.max_pool2d(silu(basic.down[0](x)), 2)))))
    expected = silu(basic.up[1](functional.interpolate(y, scale_factor=2, mode="nearest")))
    assert torch.equal(basic(x), expected)
    inputs: list[Tensor] = []
    patch.up[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    patch(x, 0.5)
    assert inputs[0][:, :16].any()
    assert not inputs[0][:, 16:].any()


def test_a_unet2d_without_skips_passes_zeros_to_every_decoder_layer(unet2d: nn.Module) -> None:
    inputs: list[Tensor] = []
    blocks = unet2d.unet.up_blocks
    layers = [layer for block in blocks for layer in block.resnets]
    hooks = [layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for layer in layers]
    unet2d.skips = False
    try:
        with torch.no_grad():
            unet2d(torch.rand(1, 1, 28, 28), 0.5)
    finally:
        unet2d.skips = True
        for hook in hooks:
            hook.remove()
    assert len(inputs) == len(layers) == 9
    kept = (64, 64, 64, 64, 64, 32, 32, 32, 32)  # channels of the encoder, from the last
    for args, channels in zip(inputs, kept, strict=True):
        assert args[:, :-channels].any()
        assert not args[:, -channels:].any()


@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8)])
def test_basic_unet_works_at_every_width_and_depth(channels: tuple[int, ...]) -> None:
    net = build_model("basic_unet", channels=channels)
    assert net(torch.rand(1, 1, 28, 28), 0).shape == (1, 1, 28, 28)


@pytest.mark.parametrize("channels", [(32,), (32, 32)])
def test_unet2d_works_at_every_depth(channels: tuple[int, ...]) -> None:
    net = build_model("unet2d", channels=channels, layers_per_block=1)
    with torch.no_grad():
        assert net(torch.rand(1, 1, 28, 28), 0).shape == (1, 1, 28, 28)


def test_the_options_of_a_config_build_its_model() -> None:
    config = TrainConfig(preset="tutorial", channels=(32,), layers_per_block=1)
    assert size(build_model(config.model, **config.model_options)) > 0


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("patch_unet", {"channels": (16,)}, "two"),
        ("patch_unet", {"channels": (16, 24)}, "multiples of 16"),
        ("gan", {}, "choose one of: patch_unet, basic_unet, unet2d"),
        ("basic_unet", {"widths": (8,)}, "widths"),
        ("basic_unet", {"channels": 8}, "channels"),
        ("basic_unet", {"channels": ()}, "at least one level"),
        ("basic_unet", {"channels": (0,)}, "at least 1"),
        ("basic_unet", {"layers_per_block": 2}, "layers_per_block"),
        ("unet2d", {"channels": (8, 8)}, "8"),
    ],
)
def test_an_invalid_name_or_option_is_refused_with_the_choices(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(MinidiffError, match=words):
        build_model(name, **options)


def test_building_on_the_meta_device_keeps_import_time_tensors_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_at_import.py").write_text("import torch\nTABLE = torch.zeros(1)\nbuild = torch.nn.Identity\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._BUILDERS, "identity", ("made_at_import", "build"))
    registry.build_meta_model("identity")
    assert sys.modules["made_at_import"].TABLE.device.type == "cpu"
