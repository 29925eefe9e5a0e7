"""Trains with denoising-diffusion-pytorch's Trainer, configured as in its README, for fixed time budgets.

As in the README: Unet with multipliers (1, 2, 4, 8) and flash attention, GaussianDiffusion with 1000 timesteps and 250
DDIM steps, Trainer with batch size 32 and gradient accumulation over 2, Adam at 8e-5, EMA decay 0.995, images from a
folder. Three differences: the width is the closest to the requested number of parameters; digits are not flipped; and
mixed precision (float16) is used only on GPUs. Images are 32x32, since the network halves them three times, and samples
are cropped to 28x28.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from stopwatch import Stopwatch, arguments

asked = arguments()
clock = Stopwatch(asked)
if asked.device == "cpu":
    os.environ["ACCELERATE_USE_CPU"] = "true"  # its Trainer would use any GPU

import torch  # noqa: E402 - import time is measured
from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet  # noqa: E402
from torch import Tensor  # noqa: E402

BATCH, ACCUMULATED, SAMPLING_BATCH = 32, 2, 250
PADDED, BORDER = 32, 2
STEPS = 250
LONG = 10**9  # steps; training ends when the budget is spent, before any sampling


class TimeIsUp(Exception):
    """All budgets are spent."""


def unet(width: int) -> Unet:
    return Unet(dim=width, dim_mults=(1, 2, 4, 8), channels=1, flash_attn=True)


def parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def nearest(wanted: int) -> int:
    """The width whose network is closest to `wanted` parameters."""
    with torch.device("meta"):
        sizes = {width: parameters(unet(width)) for width in range(4, 66, 2)}
    return min(sizes, key=lambda width: abs(sizes[width] - wanted))


def train(trainer: Trainer) -> list[dict[str, Tensor]]:
    """Train until all budgets are spent; returns the EMA weights at each."""
    kept: list[dict[str, Tensor]] = []
    average, update = trainer.ema, trainer.ema.update

    def update_and_look_at_the_clock() -> None:  # called by its Trainer after every step
        update()
        clock.mark("first step")
        if clock.due():
            clock.keep(trainer.step * BATCH * ACCUMULATED)
            with clock.paused():
                kept.append({name: value.clone() for name, value in average.ema_model.state_dict().items()})
            if clock.done():
                raise TimeIsUp

    average.update = update_and_look_at_the_clock
    try:
        trainer.train()
    except TimeIsUp:
        return kept
    raise AssertionError("its training ended by itself")


def main() -> None:
    """Train, save the weights at every budget, then sample from each."""
    clock.mark("imports")
    torch.manual_seed(asked.seed)
    with clock.paused():
        width = nearest(asked.parameters)
    diffusion = GaussianDiffusion(unet(width), image_size=PADDED, timesteps=1000, sampling_timesteps=STEPS)
    with tempfile.TemporaryDirectory() as results:
        trainer = Trainer(
            diffusion,
            str(asked.data),
            train_batch_size=BATCH,
            train_lr=8e-5,
            train_num_steps=LONG,
            gradient_accumulate_every=ACCUMULATED,
            ema_decay=0.995,
            amp=asked.device != "cpu",
            augment_horizontal_flip=False,
            calculate_fid=False,
            save_and_sample_every=LONG,
            results_folder=str(Path(results)),
        )
        clock.mark("data")
        kept = train(trainer)
    drawer = trainer.ema.ema_model
    drawer.eval()
    for index, weights in enumerate(kept):
        drawer.load_state_dict(weights)
        torch.manual_seed(asked.seed)
        began = time.monotonic()
        parts = []
        for done in range(0, asked.n, SAMPLING_BATCH):
            parts.append(drawer.sample(batch_size=min(SAMPLING_BATCH, asked.n - done)))
        drawn = torch.cat(parts)[:, 0, BORDER:-BORDER, BORDER:-BORDER]
        drawn = (drawn.clamp(0, 1) * 255).round().byte().cpu()
        clock.hand_in(index, drawn, None, time.monotonic() - began, STEPS)
    clock.finish(parameters=parameters(diffusion.model), shape=f"width {width}", sampler=f"DDIM, {STEPS} of 1000 steps")


if __name__ == "__main__":
    main()
