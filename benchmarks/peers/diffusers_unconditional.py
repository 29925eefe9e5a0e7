"""diffusers' script for unconditional images (train_unconditional.py, as its README calls it) against the clock.

The settings and the parts are its own: UNet2DModel with six levels of two layers and attention in the last but one,
DDPM's linear schedule of 1000 steps, noise predicted, AdamW at 1e-4 with betas 0.95 and 0.999 and decay 1e-6, batches
of 16, 500 steps of warm-up and a cosine over 100 epochs, gradients clipped to 1, EMAModel with its warm-up, and
DDPMPipeline for samples. Three things differ: the width comes nearest to the number of parameters asked for, with as
many groups in its normalisation; digits are not flipped; they are padded to 32x32, which the net can halve, and cropped
again.
"""

from __future__ import annotations

import time

from stopwatch import Stopwatch, arguments

asked = arguments()
clock = Stopwatch(asked)

import torch  # noqa: E402 - imports are part of what is timed
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel  # noqa: E402
from diffusers.optimization import get_scheduler  # noqa: E402
from diffusers.training_utils import EMAModel  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional  # noqa: E402
from torchvision import datasets, transforms  # noqa: E402

BATCH, SAMPLING_BATCH, EPOCHS, WARMUP = 16, 250, 100, 500
PADDED, BORDER, STEPS = 32, 2, 1000
WIDTHS = (4, 8, 16, 32, 64)


def unet(width: int) -> UNet2DModel:
    plain_down, plain_up = "DownBlock2D", "UpBlock2D"
    return UNet2DModel(
        sample_size=PADDED,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(width, width, 2 * width, 2 * width, 4 * width, 4 * width),
        down_block_types=(*[plain_down] * 4, "AttnDownBlock2D", plain_down),
        up_block_types=(plain_up, "AttnUpBlock2D", *[plain_up] * 4),
        norm_num_groups=min(width, 32),
    )


def parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def nearest(wanted: int) -> int:
    """The width whose net has most nearly `wanted` parameters."""
    sizes = {width: parameters(unet(width)) for width in WIDTHS}
    return min(sizes, key=lambda width: abs(sizes[width] - wanted))


def main() -> None:
    """Train, keep the averaged weights at every budget, then draw from each of them."""
    clock.mark("imports")
    torch.manual_seed(asked.seed)
    steps = [transforms.Pad(BORDER), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    images = datasets.MNIST(asked.data, train=True, transform=transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True)
    clock.mark("data")
    with clock.paused():
        width = nearest(asked.parameters)
    net = unet(width).to(asked.device)
    noises = DDPMScheduler(num_train_timesteps=STEPS, beta_schedule="linear")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rates = get_scheduler(
        "cosine", optimizer=optimizer, num_warmup_steps=WARMUP, num_training_steps=len(loader) * EPOCHS
    )
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    kept: list[list[Tensor]] = []
    seen = 0
    while not clock.done():
        for x0, _ in loader:
            x0 = x0.to(asked.device)
            noise = torch.randn_like(x0)
            times = torch.randint(0, STEPS, (len(x0),), device=x0.device)
            loss = functional.mse_loss(net(noises.add_noise(x0, noise, times), times).sample, noise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
            average.step(net.parameters())
            loss.item()  # which the script logs
            seen += len(x0)
            clock.mark("first step")
            if clock.due():
                clock.keep(seen)
                with clock.paused():
                    kept.append([value.clone() for value in average.shadow_params])
                if clock.done():
                    break
    pipeline = DDPMPipeline(unet=net.eval(), scheduler=noises)
    pipeline.set_progress_bar_config(disable=True)
    for index, weights in enumerate(kept):
        for parameter, value in zip(net.parameters(), weights, strict=True):
            parameter.data.copy_(value)
        generator = torch.Generator(asked.device).manual_seed(asked.seed)
        began = time.monotonic()
        parts = []
        for done in range(0, asked.n, SAMPLING_BATCH):
            count = min(SAMPLING_BATCH, asked.n - done)
            drawn = pipeline(batch_size=count, generator=generator, num_inference_steps=STEPS, output_type="np").images
            parts.append((torch.from_numpy(drawn)[..., 0] * 255).round().byte())
        images_drawn = torch.cat(parts)[:, BORDER:-BORDER, BORDER:-BORDER].contiguous()
        clock.hand_in(index, images_drawn, None, time.monotonic() - began, STEPS)
    clock.finish(parameters=parameters(net), shape=f"width {width}", sampler=f"DDPM, {STEPS} steps")


if __name__ == "__main__":
    main()
