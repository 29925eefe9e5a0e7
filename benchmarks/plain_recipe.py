"""Compares our trainer with a plain implementation of the tutorial's recipe: `python benchmarks/plain_recipe.py`.

Prints, for presets `quick` and `tutorial` at batch size 128, the differences in loss over 20 steps, and the time per
step. Needs MNIST (`minidiff download mnist`); takes some two minutes on two cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from core import TrainConfig, load_dataset
from core.compute.seeding import CORRUPTION, epoch_order, generator_for
from core.training.trainer import Trainer

STEPS = 20


class PlainUNet(nn.Module):
    """BasicUNet, reimplemented from the tutorial's description."""

    def __init__(self) -> None:
        super().__init__()
        self.d1, self.d2, self.d3 = (nn.Conv2d(a, b, 5, padding=2) for a, b in ((1, 32), (32, 64), (64, 64)))
        self.u1, self.u2, self.u3 = (nn.Conv2d(a, b, 5, padding=2) for a, b in ((64, 64), (64, 32), (32, 1)))

    def forward(self, x: Tensor) -> Tensor:
        fine = functional.silu(self.d1(x))
        middle = functional.silu(self.d2(functional.max_pool2d(fine, 2)))
        coarse = functional.silu(self.d3(functional.max_pool2d(middle, 2)))
        y = functional.silu(self.u1(coarse))
        y = functional.silu(self.u2(nn.Upsample(scale_factor=2)(y) + middle))
        return functional.silu(self.u3(nn.Upsample(scale_factor=2)(y) + fine))


def plain_unet2d() -> nn.Module:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )


def plain_losses(net: nn.Module, images: Tensor, seed: int, batch: int) -> Iterator[float]:
    """The tutorial's training loop, infinite: mix with uniform noise, predict the clean image, Adam at 1e-3."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    step, epoch = 0, 0
    while True:
        for chosen in epoch_order(seed, epoch, len(images)).split(batch):
            x = images[chosen].float() / 255
            generator = generator_for(seed, CORRUPTION, step)
            amount, noise = torch.rand(len(x), generator=generator), torch.rand(x.shape, generator=generator)
            mixed = x * (1 - amount.view(-1, 1, 1, 1)) + noise * amount.view(-1, 1, 1, 1)
            prediction = net(mixed) if isinstance(net, PlainUNet) else net(mixed, 0).sample
            loss = functional.mse_loss(prediction, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()
            step += 1
        epoch += 1


def plain_twin(trainer: Trainer) -> nn.Module:
    """The plain network with the trainer's weights."""
    plain = PlainUNet() if trainer.config.model == "basic_unet" else plain_unet2d()
    plain.load_state_dict(dict(zip(plain.state_dict(), trainer.net.state_dict().values(), strict=True)))
    return plain


def main() -> None:
    """Print the comparison as a table."""
    data = load_dataset("mnist")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; {STEPS} steps of 128 images\n")
    print("| preset | greatest relative difference in loss | plain loop | ours |\n| --- | ---: | ---: | ---: |")
    for preset in ("quick", "tutorial"):
        trainer = Trainer(TrainConfig(preset=preset), torch.device("cpu"))
        trainer.set_data(*data)
        plain = plain_losses(plain_twin(trainer), data.images, trainer.config.seed, trainer.config.batch_size)
        differences, seconds = [], {"plain": 0.0, "ours": 0.0}
        for _ in range(STEPS):  # alternating, so that a slower machine affects both
            began = time.perf_counter()
            expected = next(plain)
            between = time.perf_counter()
            found = trainer.train_step()[0].item()
            seconds["plain"] += between - began
            seconds["ours"] += time.perf_counter() - between
            differences.append(abs(found - expected) / expected)
        pace = " | ".join(f"{total / STEPS:.3f} s a step" for total in seconds.values())
        print(f"| {preset} | {max(differences):.1e} | {pace} |", flush=True)


if __name__ == "__main__":
    main()
