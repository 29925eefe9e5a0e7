"""Trains with denoising-diffusion-pytorch's Trainer, configured as in its README, for fixed time budgets.

As in the README: Unet of width 64 with multipliers (1, 2, 4, 8) and flash attention, GaussianDiffusion with 1000
timesteps and 250 DDIM steps, Trainer with batch size 32 and gradient accumulation over 2, Adam at 8e-5, EMA decay
0.995, images from a folder. Differences: with a requested number of parameters, the width is the closest to it; gray
images have one channel and are not flipped, since most are characters; mixed precision (float16) is used only on GPUs;
images are padded to squares with a side that is a multiple of 8, since the network halves them three times.
"""

from __future__ import annotations

import os
import tempfile
import time

from stopwatch import Stopwatch, arguments

options = arguments()
clock = Stopwatch(options)
if options.device == "cpu":
    os.environ["ACCELERATE_USE_CPU"] = "true"  # its Trainer would use any GPU

import torch  # noqa: E402 - import time is measured
from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet  # noqa: E402
from helpers import batch_sizes, choose_size, copy_weights, count_parameters, to_uint8  # noqa: E402
from torch import Tensor  # noqa: E402

BATCH, ACCUMULATION = 32, 2
MULTIPLE = 8  # of the side
STEPS = 250
LONG = 10**9  # steps; training ends when the budget is spent, before any sampling
CHANNELS = options.shape[0]
PUBLISHED, CANDIDATES = 64, range(4, 66, 2)  # width


class TimeIsUp(Exception):
    """All budgets are spent."""


def build(width: int) -> Unet:
    return Unet(dim=width, dim_mults=(1, 2, 4, 8), channels=CHANNELS, flash_attn=True)


def train(trainer: Trainer) -> list[dict[str, Tensor]]:
    """Train until all budgets are spent; returns the EMA weights at each."""
    checkpoints: list[dict[str, Tensor]] = []
    ema, update = trainer.ema, trainer.ema.update

    def update_and_check_clock() -> None:  # called by its Trainer after every step
        update()
        clock.mark("first step")
        if clock.due():
            clock.record_checkpoint(trainer.step * BATCH * ACCUMULATION)
            with clock.paused():
                checkpoints.append(copy_weights(ema.ema_model))
            if clock.done():
                raise TimeIsUp

    ema.update = update_and_check_clock
    try:
        trainer.train()
    except TimeIsUp:
        return checkpoints
    raise AssertionError("its training ended by itself")


def main() -> None:
    """Train, copy the weights at every budget, then generate samples with each."""
    clock.mark("imports")
    torch.manual_seed(options.seed)
    with clock.paused():
        width = choose_size(build, PUBLISHED, CANDIDATES, options.parameters)
    side = -(-max(options.shape[1:]) // MULTIPLE) * MULTIPLE
    diffusion = GaussianDiffusion(build(width), image_size=side, timesteps=1000, sampling_timesteps=STEPS)
    with tempfile.TemporaryDirectory() as results:
        trainer = Trainer(
            diffusion,
            str(options.data),
            train_batch_size=BATCH,
            train_lr=8e-5,
            train_num_steps=LONG,
            gradient_accumulate_every=ACCUMULATION,
            ema_decay=0.995,
            amp=options.device != "cpu",
            augment_horizontal_flip=CHANNELS > 1,
            calculate_fid=False,
            save_and_sample_every=LONG,
            results_folder=results,
        )
        clock.mark("data")
        checkpoints = train(trainer)
    model = trainer.ema.ema_model
    model.eval()
    for index, weights in enumerate(checkpoints):
        model.load_state_dict(weights)
        torch.manual_seed(options.seed)
        start = time.monotonic()
        samples = to_uint8(torch.cat([model.sample(batch_size=size) for size in batch_sizes(options.n)]))
        clock.save_samples(index, samples, None, time.monotonic() - start, STEPS)
    clock.write_result(
        parameters=count_parameters(diffusion.model),
        network=f"width {width}",
        sampler=f"DDIM, {STEPS} of 1000 steps",
    )


if __name__ == "__main__":
    main()
