"""The processes that train one net together: how they meet, what they tell one another, and whose images are whose."""

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
from core.errors import DeviceUnavailable, ProcessLost
from core.runs.launcher import LOST, RENDEZVOUS, Place, place

REFUSAL = "refused: "  # begins what a process says that cannot take part
DTYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.float64, torch.int64)}  # of a state
PATIENCE = timedelta(days=365)  # others wait while the first evaluates, or is paused; a death is noticed at once


class Team:
    """All processes of one training; what only makes sense among several does nothing in a team of one.

    The first process, the leader, has the run directory and decides; the others do the steps that they are told to.
    Every process draws the whole batch's randomness and computes its own part of the batch, so that a step is the same
    whatever the number of processes, but for the order in which gradients are added up.
    """

    def __init__(self, where: Place | None = None) -> None:
        self.place = where or place()
        self.size = self.place.size
        self._words: dist.ProcessGroup | None = None  # for what is told, on the processor
        self._gradients: dist.ProcessGroup | None = None  # for tensors that stay on the device

    @property
    def leads(self) -> bool:
        """Whether this is the process with the run directory."""
        return self.place.rank == 0

    def join(self) -> None:
        """Meet the others, whom `kept_together` parts from at the end.

        Raises:
            ProcessLost: one of them did not come.
        """
        if self.size == 1:
            return
        try:
            if file := os.environ.get(RENDEZVOUS):
                met: Store = dist.FileStore(file, self.size)  # type: ignore[attr-defined] # documented, not in __all__
            else:
                met, _, _ = next(iter(rendezvous("env://")))
            # torchrun's store lives on when it starts everyone anew; what the dead left there must not be found.
            store = PrefixStore(f"attempt {self.place.restarts}", met)
            dist.init_process_group("gloo", store=store, rank=self.place.rank, world_size=self.size)
            self._words = dist.new_group(backend="gloo", timeout=PATIENCE)  # type: ignore[assignment] # of all
        except RuntimeError as error:
            _raise_lost(error)
        self._gradients = dist.group.WORLD

    @contextmanager
    def kept_together(self) -> Iterator[None]:
        """Say it in plain words where another process is found to be gone.

        Raises:
            ProcessLost: this one cannot go on without it.
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
        """The device for this process: as `core.pick_device`, but each process of a machine has a GPU of its own.

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

    def tell(self, value: Any) -> None:
        """Say something, as JSON, to all others, who `hear` it."""
        if self.size > 1:
            content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
            dist.broadcast(torch.tensor(len(content), device="cpu"), src=0, group=self._words)
            dist.broadcast(content, src=0, group=self._words)

    def hear(self) -> Any:
        """What the leader says next."""
        length = torch.tensor(0, device="cpu")
        dist.broadcast(length, src=0, group=self._words)
        content = torch.empty(int(length), dtype=torch.uint8, device="cpu")
        dist.broadcast(content, src=0, group=self._words)
        return json.loads(bytes(content.tolist()))

    def ask(self, words: str) -> list[str]:
        """What every process has to say here, by rank; all of them take part, and all are told."""
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

    def hand_out(self, tensors: Mapping[str, Tensor]) -> None:
        """Give all others copies of the leader's tensors, which they `receive`."""
        if self.size == 1:
            return
        self.tell(
            [[name, str(value.dtype).removeprefix("torch."), list(value.shape)] for name, value in tensors.items()]
        )
        for value in tensors.values():
            dist.broadcast(value.detach().cpu().contiguous(), src=0, group=self._words)

    def receive(self) -> dict[str, Tensor]:
        """The tensors that the leader hands out, on the CPU."""
        tensors = {name: torch.empty(shape, dtype=DTYPES[kind], device="cpu") for name, kind, shape in self.hear()}
        for value in tensors.values():
            dist.broadcast(value, src=0, group=self._words)
        return tensors

    def share(self, images: int) -> slice:
        """Which of a batch's images are this process's: parts differ by at most one image, and may be empty."""
        rank = self.place.rank
        return slice(images * rank // self.size, images * (rank + 1) // self.size)

    def wrapped(self, net: nn.Module) -> nn.Module:
        """The net with gradients that are averaged over all processes while they are computed; on the net's device."""
        if self.size == 1:
            return net
        if next(net.parameters()).is_cuda:
            self._gradients = dist.new_group(backend="nccl")  # type: ignore[assignment] # of all, so none is left out
        return DistributedDataParallel(net, process_group=self._gradients, gradient_as_bucket_view=True)

    @staticmethod
    def kept_back(net: nn.Module) -> AbstractContextManager[None]:
        """While entered, gradients of a wrapped net are added up here and not exchanged yet."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a scalar over all processes, on the device it is on; the same bits everywhere."""
        if self.size > 1:
            dist.all_reduce(value, group=self._gradients)
        return value

    def all(self, holds: bool) -> bool:
        """Whether something holds for every process."""
        if self.size == 1:
            return holds
        found = torch.tensor(int(holds), device="cpu")
        dist.all_reduce(found, dist.ReduceOp.MIN, group=self._words)
        return bool(found)

    def average(self, gradients: Iterable[Tensor | None]) -> None:
        """Replace gradients that were kept back by their average over all processes; one that is None is so in all."""
        for gradient in gradients if self.size > 1 else ():
            if gradient is not None:
                dist.all_reduce(gradient, group=self._gradients)
                gradient.div_(self.size)

    def here(self, device: torch.device) -> str:
        """This process's device, with the machine's name where there are several machines."""
        several = self.place.local_size < self.size
        return f"{socket.gethostname()} {device}" if several else str(device)


def _raise_lost(error: RuntimeError) -> NoReturn:
    """Raise ProcessLost if that is what torch says, else the error itself."""
    if isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Gloo", "NCCL")):
        reason = re.sub(r"^.*\] ", "", str(error).splitlines()[0]).partition(". ")[0]
        raise ProcessLost(f"{LOST} ({reason})") from None
    raise error
