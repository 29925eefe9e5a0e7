"""Roofline bounds: peak rates of a device, and operations and memory traffic of a training or sampling step."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OPTIMIZER_PASSES = 6  # weights and both moments, float32, read and written once per step


def seconds_of(device: torch.device, work: Callable[[], object], times: int = 1) -> float:
    """Seconds that `work` takes, `times` times."""
    if device.type == "cuda":
        begins, ends = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begins.record()
        for _ in range(times):
            work()
        ends.record()
        torch.cuda.synchronize(device)
        return float(begins.elapsed_time(ends)) / 1000
    began = time.perf_counter()
    for _ in range(times):
        work()
    if device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - began


@dataclass(frozen=True)
class Rates:
    """Measured peak rates."""

    products: dict[str, float]  # operations per second of a large matrix product, by precision
    copying: float  # bytes per second, read and written


@dataclass(frozen=True)
class Work:
    """Operations and memory traffic per image."""

    operations: float
    moved: float  # bytes

    def most(self, rates: Rates, precision: str) -> tuple[float, float]:
        """Upper bounds on images per second, from arithmetic and from memory traffic."""
        return rates.products[precision] / self.operations, rates.copying / self.moved


def measured_rates(device: torch.device, side: int, size: int, tries: int = 7) -> Rates:
    """Measure matrix products of `side` by `side` matrices, and a copy of `size` bytes."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # as convolutions may use TF32 on GPUs
    products = {}
    for name, dtype in PRECISIONS.items():
        a, b = torch.randn(2, side, side, device=device).to(dtype)
        products[name] = 2 * side**3 / _median_seconds(device, lambda a=a, b=b: a @ b, tries)
    torch.set_float32_matmul_precision(allowed)
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return Rates(products, 2 * size / _median_seconds(device, lambda: target.copy_(source), tries))


def _median_seconds(device: torch.device, work: Callable[[], object], tries: int) -> float:
    work()
    return statistics.median(seconds_of(device, work) for _ in range(tries))


def training_work(net: nn.Module, step: Callable[[], object], batch: int) -> Work:
    """Work per image of a training step with `batch` images, including the optimizer."""
    operations, results = _counted(net, step)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    return Work(operations / batch, (2 * results + OPTIMIZER_PASSES * weights) / batch)


def sampling_work(net: nn.Module, draw: Callable[[], object], n: int, evaluations: int) -> Work:
    """Work per sample when `draw` generates `n`, with `evaluations` of the network each."""
    operations, results = _counted(net, draw)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in net.parameters())
    return Work(operations / n, (2 * results + evaluations * weights) / n)


def _counted(net: nn.Module, work: Callable[[], object]) -> tuple[float, float]:
    """Operations of `work`, and bytes of all outputs of convolutions and linear layers."""
    results = 0

    def add(_: nn.Module, __: object, result: Tensor) -> None:
        nonlocal results
        results += result.numel() * result.element_size()

    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    with FlopCounterMode(display=False) as counter:
        work()
    for hook in hooks:
        hook.remove()
    return float(counter.get_total_flops()), float(results)
