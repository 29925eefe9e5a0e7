"""smalldiffusion's Fashion-MNIST example (examples/fashion_mnist_unet.py) on MNIST, against the clock.

As there: its Unet with multiples (1, 1, 2) and attention at 14x14, scaled for its log-linear schedule from 0.01 to 20,
its training loop with batches of 1024 and AdamW at 7e-4, an average of the weights with decay 0.999, and its sampler in
20 steps with gamma 1.6. Two things differ: the width comes nearest to the number of parameters asked for, and digits
are not flipped, as no digit is its mirror image.
"""

from __future__ import annotations

import time

from stopwatch import Stopwatch, arguments

asked = arguments()
clock = Stopwatch(asked)

import smalldiffusion as sd  # noqa: E402 - imports are part of what is timed
import torch  # noqa: E402
from accelerate import Accelerator  # noqa: E402
from torch import Tensor  # noqa: E402
from torch_ema import ExponentialMovingAverage  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

BATCH, SAMPLING_BATCH, STEPS = 1024, 250, 20
GROUPS = 32  # its normalisation works on 32 groups of channels, so that widths are multiples of it
EPOCHS = 10**9  # the clock ends the training


def unet(width: int) -> torch.nn.Module:
    return sd.Scaled(sd.Unet)(28, 1, 1, ch=width, ch_mult=(1, 1, 2), attn_resolutions=(14,))


def parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def nearest(wanted: int) -> int:
    """The width whose net has most nearly `wanted` parameters."""
    sizes = {width: parameters(unet(width)) for width in (GROUPS, 2 * GROUPS)}
    return min(sizes, key=lambda width: abs(sizes[width] - wanted))


def main() -> None:
    """Train, keep the averaged weights at every budget, then draw from each of them."""
    clock.mark("imports")
    torch.manual_seed(asked.seed)
    accelerator = Accelerator(cpu=asked.device == "cpu")
    to_range = transforms.Compose([transforms.ToTensor(), transforms.Lambda(lambda image: image * 2 - 1)])
    images = sd.MappedDataset(datasets.MNIST(asked.data, train=True, transform=to_range), lambda pair: pair[0])
    loader = torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True)
    clock.mark("data")
    with clock.paused():
        width = nearest(asked.parameters)
    schedule = sd.ScheduleLogLinear(sigma_min=0.01, sigma_max=20, N=800)
    net = unet(width)
    average = ExponentialMovingAverage(net.parameters(), decay=0.999)
    average.to(accelerator.device)
    kept: list[list[Tensor]] = []
    seen, waiting = 0, 0
    for step in sd.training_loop(loader, net, schedule, epochs=EPOCHS, lr=7e-4, accelerator=accelerator):
        seen += waiting  # it hands out each step before the weights are moved
        waiting = len(step.x0)
        if not seen:
            continue
        average.update()
        clock.mark("first step")
        if clock.due():
            clock.keep(seen)
            with clock.paused():
                kept.append([value.clone() for value in average.shadow_params])
            if clock.done():
                break
    for index, weights in enumerate(kept):
        for parameter, value in zip(net.parameters(), weights, strict=True):
            parameter.data.copy_(value)
        torch.manual_seed(asked.seed)
        began = time.monotonic()
        parts = []
        for done in range(0, asked.n, SAMPLING_BATCH):
            count = min(SAMPLING_BATCH, asked.n - done)
            *_, last = sd.samples(net, schedule.sample_sigmas(STEPS), gam=1.6, batchsize=count, accelerator=accelerator)
            parts.append((last[:, 0].clamp(-1, 1) * 127.5 + 127.5).round().byte().cpu())
        clock.hand_in(index, torch.cat(parts), None, time.monotonic() - began, STEPS)
    sampler = f"its own sampler, {STEPS} steps, gamma 1.6"
    clock.finish(parameters=parameters(net), shape=f"width {width} x (1, 1, 2)", sampler=sampler)


if __name__ == "__main__":
    main()
