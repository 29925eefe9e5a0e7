"""Trains torchcfm's class-conditional MNIST example (examples/images/conditional_mnist.ipynb) for fixed time budgets.

As in the example: ConditionalFlowMatcher with sigma 0, UNetModel with one residual block per level and multipliers
(1, 2, 2), Adam with default options, batches of 128 from a DataLoader, float32, sampling by dopri5 with tolerances of
1e-4. Differences: with a requested number of parameters, the width and the multipliers are the closest to it; images
come from arrays in memory; color images have three channels, and sides are padded to a multiple of 4; images without
labels are learned without classes.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from stopwatch import Stopwatch, arguments

options = arguments()
clock = Stopwatch(options)

import numpy as np  # noqa: E402 - import time is measured
import torch  # noqa: E402
import torchdiffeq  # noqa: E402
from helpers import SAMPLING_BATCH, ArrayImages, choose_size, copy_weights, count_parameters, to_uint8  # noqa: E402
from torch import Tensor  # noqa: E402
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher  # noqa: E402
from torchcfm.models.unet import UNetModel  # noqa: E402
from torchvision import transforms  # noqa: E402

BATCH = 128
CHANNELS = options.shape[0]


class Size(NamedTuple):
    """Size of the network."""

    width: int  # a multiple of GroupNorm's 32 groups
    multipliers: tuple[int, ...]  # of the width, per level


PUBLISHED = Size(32, (1, 2, 2))
CANDIDATES = [Size(width, by) for width in (32, 64) for by in ((1, 2, 2), (1, 2, 1), (1, 1, 2), (1, 1, 1))]


def build(size: Size, side: int) -> UNetModel:
    """The network for square images."""
    return UNetModel(
        dim=(CHANNELS, side, side),
        num_channels=size.width,
        num_res_blocks=1,
        channel_mult=size.multipliers,
        num_classes=options.classes or None,
        class_cond=options.classes > 0,
    )


def generate(net: UNetModel, side: int, labels: Tensor) -> Tensor:
    """One sample per label, (N, C, H, W) uint8."""
    classes = labels if options.classes else None
    with torch.no_grad():
        states = torchdiffeq.odeint(
            lambda t, x: net(t, x, classes),
            torch.randn(len(labels), CHANNELS, side, side, device=labels.device),
            torch.linspace(0, 1, 2, device=labels.device),
            atol=1e-4,
            rtol=1e-4,
            method="dopri5",
        )
    return to_uint8(states[-1] / 2 + 0.5)


def main() -> None:
    """Train, copy the weights at every budget, then generate samples with each."""
    clock.mark("imports")
    torch.manual_seed(options.seed)
    to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    images = ArrayImages(options.data, to_range)
    loader = torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True, drop_last=True)
    clock.mark("data")
    with clock.paused():
        size = choose_size(lambda size: build(size, images.side), PUBLISHED, CANDIDATES, options.parameters)
    net = build(size, images.side).to(options.device)
    optimizer = torch.optim.Adam(net.parameters())
    matcher = ConditionalFlowMatcher(sigma=0.0)
    checkpoints: list[dict[str, Tensor]] = []
    seen = 0
    while not clock.done():
        for x1, y in loader:
            optimizer.zero_grad()
            x1, y = x1.to(options.device), y.to(options.device)
            t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            predicted = net(t, xt, y if options.classes else None)
            loss = torch.mean((predicted - ut) ** 2)
            loss.backward()
            optimizer.step()
            loss.item()  # as printed by the example
            seen += len(x1)
            clock.mark("first step")
            if clock.due():
                clock.record_checkpoint(seen)
                with clock.paused():
                    checkpoints.append(copy_weights(net))
                if clock.done():
                    break
    labels = torch.from_numpy(np.load(options.labels)[: options.n]).to(options.device)
    net.eval()
    for index, weights in enumerate(checkpoints):
        net.load_state_dict(weights)
        torch.manual_seed(options.seed)
        start = time.monotonic()
        samples = torch.cat([generate(net, images.side, part) for part in labels.split(SAMPLING_BATCH)])
        requested = labels.cpu() if options.classes else None
        clock.save_samples(index, samples, requested, time.monotonic() - start)
    clock.write_result(
        parameters=count_parameters(net),
        network=f"width {size.width} x {size.multipliers}",
        sampler="dopri5, tolerances 1e-4",
    )


if __name__ == "__main__":
    main()
