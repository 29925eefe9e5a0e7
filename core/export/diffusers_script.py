"""The script `sample.py` of an exported folder, which samples the model with diffusers alone."""

from __future__ import annotations

from core.config.datasets import DatasetInfo
from core.config.sampling import GUIDED
from core.config.training import TrainConfig

_HEAD = '''\
"""Generates images with diffusers: python sample.py [--n 8] [--steps {steps}] [--seed 0]{class_usage}"""

import argparse
from pathlib import Path

import torch
from diffusers import {scheduler}, UNet2DModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils import make_image_grid

parser = argparse.ArgumentParser()
parser.add_argument("--n", type=int, default=8, help="number of images")
parser.add_argument("--steps", type=int, default={steps})
parser.add_argument("--seed", type=int, default=0)
{class_options}parser.add_argument("--output", default="samples.png")
options = parser.parse_args()

folder = Path(__file__).resolve().parent
unet = UNet2DModel.from_pretrained(folder / "unet").eval()
scheduler = {scheduler}.from_pretrained(folder / "scheduler")
{labels}

def network(x, t):
    {network}


x = torch.randn(options.n, {channels}, {height}, {width}, generator=torch.Generator().manual_seed(options.seed))
{loop}
images = VaeImageProcessor().postprocess(x, output_type="pil")
columns = min(options.n, 8)
images += [images[0].point(lambda _: 0)] * (-options.n % columns)
make_image_grid(images, rows=len(images) // columns, cols=columns).save(options.output)
'''

_CLASS_OPTIONS = """\
parser.add_argument("--class", type=int, dest="label", help="0 to {last}; default: all classes in turn")
parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free guidance scale; 1: off")
"""

_LABELS = """\
null_class = {null_class}
labels = torch.arange(options.n) % null_class if options.label is None else torch.full((options.n,), options.label)
"""

_CONDITIONAL = """\
output = unet(x, t, class_labels=labels).sample
    if options.guidance == 1 or not {low} < {level} < {high}:  # where guidance helps
        return output
    null = unet(x, t, class_labels=torch.full_like(labels, null_class)).sample
    return null + options.guidance * (output - null)"""

_FLOW_LOOP = """\
scheduler.set_timesteps(sigmas=[1 - i / options.steps for i in range(options.steps)])
for t in scheduler.timesteps:
    sigma = t / 1000  # x = (1 - sigma) image + sigma noise
    with torch.no_grad():
        output = network(x, t)
    {velocity}
    x = scheduler.step(velocity, t, x).prev_sample"""

# noise - image, from each prediction type
_VELOCITY = {
    "velocity": "velocity = output",
    "clean": "velocity = (x - output) / sigma",
    "noise": "velocity = output - ((x - sigma * output) / (1 - sigma).clamp(min=1e-3)).clamp(-1, 1)",
}

_VP_LOOP = """\
scheduler.set_timesteps(options.steps)
for t in scheduler.timesteps:
    with torch.no_grad():
        output = network(x, t)
    x = scheduler.step(output, t, x).prev_sample"""


def sampling_script(config: TrainConfig) -> str:
    """The source of `sample.py` for a model trained with `config` on the path flow or vp.

    On flow it takes Euler steps, on vp those of DDIM.
    """
    info: DatasetInfo = config.info
    flow = config.path == "flow"
    low, high = (f"{bound + sign * 1e-6:.6f}" for bound, sign in zip(GUIDED[config.path], (-1, 1), strict=True))
    level = "t / 1000" if flow else "(t + 1) / 1000"
    channels, height, width = info.shape
    labels = config.class_conditional
    return _HEAD.format(
        steps=16 if flow else 50,
        class_usage=" [--class 0] [--guidance 1]" if labels else "",
        scheduler="FlowMatchEulerDiscreteScheduler" if flow else "DDIMScheduler",
        class_options=_CLASS_OPTIONS.format(last=info.classes - 1) if labels else "",
        labels=_LABELS.format(null_class=info.null_class) if labels else "",
        network=_CONDITIONAL.format(low=low, high=high, level=level) if labels else "return unet(x, t).sample",
        channels=channels,
        height=height,
        width=width,
        loop=_FLOW_LOOP.format(velocity=_VELOCITY[config.prediction]) if flow else _VP_LOOP,
    )
