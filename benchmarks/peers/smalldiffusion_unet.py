"""Trains with smalldiffusion's training_loop, configured as in its U-Net examples, for fixed time budgets.

Gray images use examples/fashion_mnist_unet.py and color images examples/cifar_unet.py. As in these: Unet predicting
the noise from scaled inputs, the noise schedules of training and sampling, AdamW with their learning rates, batches
from a DataLoader, EMA updated at every step, float32, and their number of sampling steps and `gam`. Differences: with a
requested number of parameters, the width and the multipliers are the closest to it; images come from arrays in memory;
gray images are not flipped, since most are characters; attention is at half the side of the images, as in the examples
for 28x28 and 32x32; sides are padded to a multiple of 4, or of 8 for the four levels of the color example.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from stopwatch import Stopwatch, arguments

options = arguments()
clock = Stopwatch(options)

import torch  # noqa: E402 - import time is measured
from accelerate import Accelerator  # noqa: E402
from helpers import ArrayImages, batch_sizes, choose_size, copy_weights, count_parameters, to_uint8  # noqa: E402
from smalldiffusion import (  # noqa: E402
    MappedDataset,
    Scaled,
    Schedule,
    ScheduleLogLinear,
    ScheduleSigmoid,
    Unet,
    img_normalize,
    img_train_transform,
    samples,
    training_loop,
)
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch_ema import ExponentialMovingAverage  # noqa: E402
from torchvision import transforms  # noqa: E402

EPOCHS = 10**9  # training ends when the budget is spent
CHANNELS = options.shape[0]
ScaledUnet = Scaled(Unet)


class Size(NamedTuple):
    """Size of the network."""

    width: int  # a multiple of GroupNorm's 32 groups
    multipliers: tuple[int, ...]  # of the width, per level


class Example(NamedTuple):
    """Settings of one of its examples."""

    published: Size
    multipliers: tuple[tuple[int, ...], ...]  # to choose from for a requested number of parameters
    batch: int
    learning_rate: float
    ema_decay: float
    training: Schedule
    sampling: Schedule
    steps: int
    gam: float  # weight of the current over the previous prediction; 1 is DDIM

    @property
    def multiple(self) -> int:
        """Divisor of the side: the network halves it once less than it has levels."""
        return int(2 ** (len(self.published.multipliers) - 1))


def example() -> Example:
    """The settings for gray or color images."""
    if CHANNELS == 1:
        schedule = ScheduleLogLinear(sigma_min=0.01, sigma_max=20, N=800)
        choices: tuple[tuple[int, ...], ...] = ((1, 1, 2), (1, 2, 2), (1, 1, 1))
        return Example(Size(64, (1, 1, 2)), choices, 1024, 7e-4, 0.999, schedule, schedule, steps=20, gam=1.6)
    sampling = ScheduleLogLinear(sigma_min=0.01, sigma_max=35, N=1000)
    choices = ((1, 2, 2, 2), (1, 1, 2, 2), (1, 1, 1, 2), (1, 1, 1, 1))
    published = Size(128, (1, 2, 2, 2))
    return Example(published, choices, 256, 2e-4, 0.9999, ScheduleSigmoid(N=1000), sampling, steps=10, gam=2.1)


def build(size: Size, side: int) -> Unet:
    """The network for square images."""
    return ScaledUnet(side, CHANNELS, CHANNELS, ch=size.width, ch_mult=size.multipliers, attn_resolutions=(side // 2,))


def main() -> None:
    """Train, copy the EMA weights at every budget, then generate samples with each."""
    clock.mark("imports")
    torch.manual_seed(options.seed)
    accelerator = Accelerator(cpu=options.device == "cpu")
    settings = example()
    side = -(-max(options.shape[1:]) // settings.multiple) * settings.multiple
    flip, *convert = img_train_transform.transforms
    images = ArrayImages(options.data, transforms.Compose([*([flip] if CHANNELS > 1 else []), *convert]))
    border = ((side - images.side) // 2,) * 4  # black; the files are padded for both examples
    dataset = MappedDataset(images, lambda item: functional.pad(item[0], border, value=-1))
    loader = torch.utils.data.DataLoader(dataset, batch_size=settings.batch, shuffle=True)
    clock.mark("data")
    with clock.paused():
        candidates = [Size(width, by) for width in (32, 64, 96, 128) for by in settings.multipliers]
        size = choose_size(lambda size: build(size, side), settings.published, candidates, options.parameters)
    net = build(size, side)
    ema = ExponentialMovingAverage(net.parameters(), decay=settings.ema_decay)
    ema.to(accelerator.device)
    checkpoints: list[dict[str, Tensor]] = []
    seen = 0
    loop = training_loop(
        loader, net, settings.training, epochs=EPOCHS, lr=settings.learning_rate, accelerator=accelerator
    )
    for state in loop:  # yields before the update by each batch
        if seen:
            clock.mark("first step")
        if seen and clock.due():
            clock.record_checkpoint(seen)
            with clock.paused(), ema.average_parameters():
                checkpoints.append(copy_weights(net))
            if clock.done():
                loop.close()
                break
        state.loss.item()  # as displayed by the examples
        ema.update()
        seen += len(state.x0)
    for index, weights in enumerate(checkpoints):
        net.load_state_dict(weights)
        torch.manual_seed(options.seed)
        start = time.monotonic()
        parts = []
        for batch in batch_sizes(options.n):
            sigmas = settings.sampling.sample_sigmas(settings.steps)
            *_, last = samples(net, sigmas, gam=settings.gam, batchsize=batch, accelerator=accelerator)
            parts.append(to_uint8(img_normalize(last)))
        clock.save_samples(index, torch.cat(parts), None, time.monotonic() - start, settings.steps)
    clock.write_result(
        parameters=count_parameters(net),
        network=f"width {size.width} x {size.multipliers}",
        sampler=f"its own, {settings.steps} steps, gam {settings.gam:g}",
    )


if __name__ == "__main__":
    main()
