"""Distributed data-parallel training: process groups, messages, and the part of a batch that each process computes."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from core.compute.device import pick_device
from core.errors import DeviceUnavailable, ProcessLost, TrainingError
from core.runs.launcher import PROCESS_LOST, RENDEZVOUS, RankInfo, rank_info

REFUSAL = "refused: "  # prefix of the message of a process that cannot join the run
DTYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.float64, torch.int64)}  # of a state
PATIENCE = timedelta(
    days=365
)  # workers wait while the main process evaluates or is paused; a lost process is noticed at once


class DistributedContext:
    """The processes of one run. With a world size of 1 every collective operation is a no-op.

    The main process (rank 0) owns the run directory and decides how many steps to take; the workers take them. Every
    process generates the random numbers of the whole batch and computes its own part, so a step does not depend on the
    world size, except for the order in which gradients are summed.
    """

    def __init__(self, where: RankInfo | None = None) -> None:
        self.place = where or rank_info()
        self.size = self.place.size
        self._words: dist.ProcessGroup | None = None  # for messages, on the CPU
        self._gradients: dist.ProcessGroup | None = None  # for gradients, on the device

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which owns the run directory."""
        return self.place.rank == 0

    def init_process_group(self) -> None:
        """Wait until all processes are connected; `process_group` disconnects at the end.

        Raises:
            ProcessLost: a process did not connect.
        """
        if self.size == 1:
            return
        try:
            if file := os.environ.get(RENDEZVOUS):
                met: Store = dist.FileStore(file, self.size)  # type: ignore[attr-defined] # documented, not in __all__
            else:
                met, _, _ = next(iter(rendezvous("env://")))
            # torchrun's store outlives a restart; keys of killed processes must not be found.
            store = PrefixStore(f"attempt {self.place.restarts}", met)
            dist.init_process_group("gloo", store=store, rank=self.place.rank, world_size=self.size)
            self._words = dist.new_group(backend="gloo", timeout=PATIENCE)  # type: ignore[assignment] # of all
        except RuntimeError as error:
            _raise_lost(error)
        self._gradients = dist.group.WORLD

    @contextmanager
    def process_group(self) -> Iterator[None]:
        """Turn torch's error for a lost process into `ProcessLost`, and destroy the process group at the end.

        Raises:
            ProcessLost: another process was lost.
        """
        try:
            yield
        except RuntimeError as error:
            _raise_lost(error)
        finally:
            self._words = self._gradients = None
            if self.size > 1 and dist.is_initialized():
                dist.destroy_process_group()

    def pick_device(self, name: str) -> torch.device:
        """The device for this process: as `core.pick_device`, but each process of a machine gets its own GPU.

        Raises:
            DeviceUnavailable: as there; also fewer GPUs than processes, or one device for several.
        """
        device = pick_device(name)
        if self.size > 1 and device.type == "mps":
            raise DeviceUnavailable("several processes cannot train on one mps; use --nproc 1 or --device cpu")
        if self.size == 1 or device.type != "cuda":
            return device
        count, needed = torch.cuda.device_count(), self.place.local_size
        if ":" in name or count < needed:
            raise DeviceUnavailable(
                f"{needed} processes need {needed} GPUs, and {name!r} offers {1 if ':' in name else count}; use fewer "
                "with --nproc, or --device cpu"
            )
        device = torch.device("cuda", self.place.local_rank)
        torch.cuda.set_device(device)
        return device

    def broadcast(self, value: Any) -> None:
        """Send a value, as JSON, from the main process to the workers, which call `receive`."""
        if self.size > 1:
            content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
            dist.broadcast(torch.tensor(len(content), device="cpu"), src=0, group=self._words)
            dist.broadcast(content, src=0, group=self._words)

    def receive(self) -> Any:
        """The next value that the main process broadcasts."""
        length = torch.tensor(0, device="cpu")
        dist.broadcast(length, src=0, group=self._words)
        content = torch.empty(int(length), dtype=torch.uint8, device="cpu")
        dist.broadcast(content, src=0, group=self._words)
        return json.loads(bytes(content.tolist()))

    def all_gather(self, words: str) -> list[str]:
        """The text of every process, by rank, on all processes."""
        if self.size == 1:
            return [words]
        content = torch.frombuffer(bytearray(words.encode() + b"\0"), dtype=torch.uint8)
        lengths = [torch.tensor(0, device="cpu") for _ in range(self.size)]
        dist.all_gather(lengths, torch.tensor(len(content), device="cpu"), group=self._words)
        longest = int(max(lengths))
        padded = torch.zeros(longest, dtype=torch.uint8, device="cpu")
        padded[: len(content)] = content
        answers = [torch.empty(longest, dtype=torch.uint8, device="cpu") for _ in range(self.size)]
        dist.all_gather(answers, padded, group=self._words)
        return [bytes(answer.tolist()).partition(b"\0")[0].decode() for answer in answers]

    def gather_results(self, text: str) -> list[str]:
        """As `all_gather`, for the main process.

        Raises:
            TrainingError: a worker process refused to take part.
        """
        results = self.all_gather(text)
        for rank, result in enumerate(results):
            if result.startswith(REFUSAL):
                raise TrainingError(f"process {rank} cannot join the run: {result.removeprefix(REFUSAL)}")
        return results

    def broadcast_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Send tensors from the main process to the workers, which call `receive_tensors`."""
        if self.size == 1:
            return
        self.broadcast(
            [[name, str(value.dtype).removeprefix("torch."), list(value.shape)] for name, value in tensors.items()]
        )
        for value in tensors.values():
            dist.broadcast(value.detach().cpu().contiguous(), src=0, group=self._words)

    def receive_tensors(self) -> dict[str, Tensor]:
        """The tensors that the main process broadcasts, on the CPU."""
        tensors = {name: torch.empty(shape, dtype=DTYPES[kind], device="cpu") for name, kind, shape in self.receive()}
        for value in tensors.values():
            dist.broadcast(value, src=0, group=self._words)
        return tensors

    def local_slice(self, images: int) -> slice:
        """The slice of a batch that this process computes; slices differ by at most one image and may be empty."""
        rank = self.place.rank
        return slice(images * rank // self.size, images * (rank + 1) // self.size)

    def wrap(self, net: nn.Module, *, may_skip_weights: bool = False) -> nn.Module:
        """The network with gradients averaged over all processes during the backward pass.

        Args:
            net: The network.
            may_skip_weights: Whether a step may leave some of its weights unused.
        """
        if self.size == 1:
            return net
        if next(net.parameters()).is_cuda:
            self._gradients = dist.new_group(backend="nccl")  # type: ignore[assignment] # of all, so none is left out
        return DistributedDataParallel(
            net,
            process_group=self._gradients,
            gradient_as_bucket_view=True,
            find_unused_parameters=may_skip_weights,
        )

    @staticmethod
    def no_sync(net: nn.Module) -> AbstractContextManager[None]:
        """Accumulate the gradients of a wrapped network locally, without averaging them yet."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum of a scalar over all processes, on its device; the same bits on every process."""
        if self.size > 1:
            dist.all_reduce(value, group=self._gradients)
        return value

    def all_true(self, holds: bool) -> bool:
        """Whether a condition holds on every process."""
        if self.size == 1:
            return holds
        found = torch.tensor(int(holds), device="cpu")
        dist.all_reduce(found, dist.ReduceOp.MIN, group=self._words)
        return bool(found)

    def all_reduce_mean(self, gradients: Iterable[Tensor | None]) -> None:
        """Average accumulated gradients over all processes, in place; None is None on all of them."""
        for gradient in gradients if self.size > 1 else ():
            if gradient is not None:
                dist.all_reduce(gradient, group=self._gradients)
                gradient.div_(self.size)

    def device_name(self, device: torch.device) -> str:
        """This process's device, with the host name if there are several hosts."""
        several = self.place.local_size < self.size
        return f"{socket.gethostname()} {device}" if several else str(device)


def _raise_lost(error: RuntimeError) -> NoReturn:
    """Raise ProcessLost if the error is from a collective operation, else the error itself."""
    if isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Gloo", "NCCL")):
        reason = re.sub(r"^.*\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise ProcessLost(f"{PROCESS_LOST} ({reason})") from None
    raise error
