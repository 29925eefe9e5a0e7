"""Trains as diffusers' examples/unconditional_image_generation/train_unconditional.py for fixed time budgets.

As with the script's defaults and the options of its README: UNet2DModel with six levels of two layers, 128 to 512
channels wide, attention at the fifth; DDPMScheduler with 1000 steps, predicting the noise; AdamW at 1e-4 with betas
(0.95, 0.999) and weight decay 1e-6; a cosine learning-rate schedule over 100 epochs with 500 warmup steps; gradients
clipped to norm 1; EMA with warmup up to 0.9999; batches of 16 from an image folder; float32; sampling by DDPMPipeline
in 1000 steps. Differences: with a requested number of parameters, the six widths are scaled to the closest, and
GroupNorm has fewer than 32 groups where a width is not divisible by it; gray images have one channel and are not
flipped, since most are characters; the resolution is that of the images, padded to a multiple of 32 since the network
halves them five times, instead of 64; torchvision reads the folder instead of datasets; neither logs nor checkpoints
are written; samples are generated in batches of 250.
"""

from __future__ import annotations

import math
import time

from stopwatch import Stopwatch, arguments

options = arguments()
clock = Stopwatch(options)

import torch  # noqa: E402 - import time is measured
from accelerate import Accelerator  # noqa: E402
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # noqa: E402
from diffusers.optimization import get_scheduler  # noqa: E402
from diffusers.training_utils import EMAModel  # noqa: E402
from helpers import batch_sizes, choose_size, copy_weights, count_parameters, to_uint8  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

BATCH, EPOCHS, WARMUP, STEPS = 16, 100, 500, 1000
MULTIPLE = 32  # of the side
MULTIPLIERS = (1, 1, 2, 2, 4, 4)
PUBLISHED, CANDIDATES = 128, range(4, 132, 4)  # width of the first level
CHANNELS = options.shape[0]
SIDE = -(-max(options.shape[1:]) // MULTIPLE) * MULTIPLE


def build(width: int) -> UNet2DModel:
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        layers_per_block=2,
        block_out_channels=tuple(width * by for by in MULTIPLIERS),
        down_block_types=("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        norm_num_groups=math.gcd(width, 32),
    )


def read_images() -> torch.utils.data.DataLoader[tuple[Tensor, int]]:
    """Batches of images in [-1, 1], which are decoded for each batch."""
    flip = [transforms.RandomHorizontalFlip()] if CHANNELS > 1 else []
    convert = transforms.Lambda(lambda image: image.convert("RGB" if CHANNELS > 1 else "L"))
    augmentation = transforms.Compose([convert, *flip, transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])
    return torch.utils.data.DataLoader(
        datasets.ImageFolder(str(options.data), augmentation), batch_size=BATCH, shuffle=True
    )


def train(
    net: UNet2DModel, scheduler: DDPMScheduler, accelerator: Accelerator, loader: torch.utils.data.DataLoader
) -> list[dict[str, Tensor]]:
    """Train until all budgets are spent; returns the EMA weights at each."""
    ema = EMAModel(
        net.parameters(),
        decay=0.9999,
        use_ema_warmup=True,
        inv_gamma=1.0,
        power=3 / 4,
        model_cls=UNet2DModel,
        model_config=net.config,
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=WARMUP, num_training_steps=len(loader) * EPOCHS)
    net, optimizer, loader, schedule = accelerator.prepare(net, optimizer, loader, schedule)
    ema.to(accelerator.device)
    checkpoints: list[dict[str, Tensor]] = []
    seen = 0
    net.train()
    while True:
        for clean, _ in loader:
            noise = torch.randn_like(clean)
            timesteps = torch.randint(0, STEPS, (len(clean),), device=clean.device)
            predicted = net(scheduler.add_noise(clean, noise, timesteps), timesteps).sample
            loss = functional.mse_loss(predicted.float(), noise.float())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            ema.step(net.parameters())
            loss.item()  # as displayed by the script
            seen += len(clean)
            clock.mark("first step")
            if clock.due():
                clock.record_checkpoint(seen)
                with clock.paused():
                    ema.store(net.parameters())
                    ema.copy_to(net.parameters())
                    checkpoints.append(copy_weights(accelerator.unwrap_model(net)))
                    ema.restore(net.parameters())
                if clock.done():
                    return checkpoints


def main() -> None:
    """Train, copy the EMA weights at every budget, then generate samples with each."""
    clock.mark("imports")
    torch.manual_seed(options.seed)
    accelerator = Accelerator(cpu=options.device == "cpu", mixed_precision="no")
    loader = read_images()
    clock.mark("data")
    with clock.paused():
        width = choose_size(build, PUBLISHED, CANDIDATES, options.parameters)
    net = build(width)
    scheduler = DDPMScheduler(num_train_timesteps=STEPS, beta_schedule="linear", prediction_type="epsilon")
    checkpoints = train(net, scheduler, accelerator, loader)
    pipeline = DDPMPipeline(unet=net.eval(), scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    for index, weights in enumerate(checkpoints):
        net.load_state_dict(weights)
        generator = torch.Generator(accelerator.device).manual_seed(options.seed)
        start = time.monotonic()
        parts = []
        for batch in batch_sizes(options.n):
            images = pipeline(batch, generator, num_inference_steps=STEPS, output_type="np").images  # (B, H, W, C)
            parts.append(to_uint8(torch.from_numpy(images).movedim(3, 1)))
        clock.save_samples(index, torch.cat(parts), None, time.monotonic() - start, STEPS)
    clock.write_result(
        parameters=count_parameters(net),
        network=f"width {width} x {MULTIPLIERS}",
        sampler=f"DDPM, {STEPS} steps",
    )


if __name__ == "__main__":
    main()
