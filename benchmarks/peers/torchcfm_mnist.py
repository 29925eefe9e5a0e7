"""Trains torchcfm's class-conditional MNIST example (examples/images/conditional_mnist.ipynb) for fixed time budgets.

As in the example: ConditionalFlowMatcher with sigma 0, UNetModel with one residual block per level, Adam with default
options, batches of 128 from a DataLoader, float32, sampling by dopri5 with tolerances of 1e-4. Only the channels of the
three levels differ: they are the closest to the requested number of parameters.
"""

from __future__ import annotations

import time

from stopwatch import Stopwatch, arguments

asked = arguments()
clock = Stopwatch(asked)

import numpy as np  # noqa: E402 - import time is measured
import torch  # noqa: E402
import torchdiffeq  # noqa: E402
from torch import Tensor  # noqa: E402
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher  # noqa: E402
from torchcfm.models.unet import UNetModel  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

BATCH, SAMPLING_BATCH = 128, 250
GROUPS = 32  # GroupNorm groups; widths are multiples of it
MULTIPLES = ((1, 2, 2), (1, 2, 1), (1, 1, 2), (1, 1, 1))  # channel multipliers per level; the first is the example's


def unet(width: int, multiples: tuple[int, ...]) -> UNetModel:
    return UNetModel(
        dim=(1, 28, 28), num_channels=width, num_res_blocks=1, channel_mult=multiples, num_classes=10, class_cond=True
    )


def parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def nearest(wanted: int) -> tuple[int, tuple[int, ...]]:
    """Width and multipliers whose network is closest to `wanted` parameters."""
    with torch.device("meta"):
        sizes = {(width, by): parameters(unet(width, by)) for width in (GROUPS, 2 * GROUPS) for by in MULTIPLES}
    return min(sizes, key=lambda shape: abs(sizes[shape] - wanted))


def draw(net: UNetModel, labels: Tensor) -> Tensor:
    """One sample per label, (N, 28, 28) uint8."""
    with torch.no_grad():
        states = torchdiffeq.odeint(
            lambda t, x: net(t, x, labels),
            torch.randn(len(labels), 1, 28, 28, device=labels.device),
            torch.linspace(0, 1, 2, device=labels.device),
            atol=1e-4,
            rtol=1e-4,
            method="dopri5",
        )
    return (states[-1, :, 0].clip(-1, 1) * 127.5 + 127.5).round().byte().cpu()


def main() -> None:
    """Train, save the weights at every budget, then sample from each."""
    clock.mark("imports")
    torch.manual_seed(asked.seed)
    to_range = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    images = datasets.MNIST(asked.data, train=True, transform=to_range)
    loader = torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True, drop_last=True)
    clock.mark("data")
    with clock.paused():
        shape = nearest(asked.parameters)
    net = unet(*shape).to(asked.device)
    optimizer = torch.optim.Adam(net.parameters())
    matcher = ConditionalFlowMatcher(sigma=0.0)
    kept: list[dict[str, Tensor]] = []
    seen = 0
    while not clock.done():
        for x1, y in loader:
            optimizer.zero_grad()
            x1, y = x1.to(asked.device), y.to(asked.device)
            t, xt, ut = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
            loss = torch.mean((net(t, xt, y) - ut) ** 2)
            loss.backward()
            optimizer.step()
            loss.item()  # as printed by the example
            seen += len(x1)
            clock.mark("first step")
            if clock.due():
                clock.keep(seen)
                with clock.paused():
                    kept.append({name: value.clone() for name, value in net.state_dict().items()})
                if clock.done():
                    break
    labels = torch.from_numpy(np.load(asked.labels)[: asked.n]).to(asked.device)
    net.eval()
    for index, weights in enumerate(kept):
        net.load_state_dict(weights)
        torch.manual_seed(asked.seed)
        began = time.monotonic()
        drawn = torch.cat([draw(net, part) for part in labels.split(SAMPLING_BATCH)])
        clock.hand_in(index, drawn, labels.cpu(), time.monotonic() - began)
    sampler = "dopri5, tolerances 1e-4"
    clock.finish(parameters=parameters(net), shape=f"width {shape[0]} x {shape[1]}", sampler=sampler)


if __name__ == "__main__":
    main()
