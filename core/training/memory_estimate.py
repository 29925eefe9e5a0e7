"""Estimate of the memory that training takes, measured on small batches."""

from __future__ import annotations

import torch
from torch import Tensor

from core.compute.device_memory import is_out_of_memory, memory_held
from core.compute.precision import in_precision
from core.diffusion.samplers import call_network
from core.training.trainer import Trainer

BATCH_SIZES = (1, 3)  # of the measured batches


def training_memory(trainer: Trainer) -> int | None:
    """Estimate the peak memory of training, in bytes, on the device of `trainer`, whose data is loaded.

    Weights, gradients, optimizer state, EMA weights and data are counted; what the backward pass needs is measured on
    small batches and extrapolated. On a CPU the whole process counts. For the three presets, at batch sizes of 64 to
    1,024 on a CPU, the estimate was within an eighth of the peak. None if the small batches do not fit.
    """
    config = trainer.config
    try:
        saved = [_saved_for_backward(trainer, images) for images in BATCH_SIZES]
    except RuntimeError as failure:
        if is_out_of_memory(failure):
            return None
        raise
    per_image, shared = (saved[1] - saved[0]) / 2, (3 * saved[0] - saved[1]) / 2
    images = trainer.micro_batch or -(-config.batch_size // trainer.distributed.size)
    # Weights and data are allocated already. Missing are gradients, at most two moments per weight, and gradients of
    # activations, which add a quarter to the activations.
    weights = sum(weight.nbytes for weight in trainer.net.parameters())
    return round((memory_held(trainer.device) or 0) + 3 * weights + shared + 1.25 * per_image * images)


def _saved_for_backward(trainer: Trainer, images: int) -> int:
    """Bytes that a forward pass of `images` images saves for the backward pass, without the weights."""
    config, device = trainer.config, trainer.device
    weights = {weight.untyped_storage().data_ptr() for weight in trainer.net.parameters()}
    saved: dict[int, Tensor] = {}

    def save(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor  # a reference, so that no address is reused
        return tensor

    x = torch.zeros((images, *config.info.shape), dtype=torch.float32, device=device)
    t = torch.zeros(images, dtype=torch.float32, device=device)
    labels = torch.zeros(images, dtype=torch.int64, device=device) if config.class_conditional else None
    hooks = torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor)
    trainer.net.eval()  # leaves the running statistics of BatchNorm as they are
    try:
        with torch.enable_grad(), hooks, in_precision(config.precision, device):
            call_network(trainer.net, x, t, labels, time_conditioning=config.time_conditioning)
    finally:
        trainer.net.train()
    return sum(tensor.untyped_storage().nbytes() for address, tensor in saved.items() if address not in weights)
