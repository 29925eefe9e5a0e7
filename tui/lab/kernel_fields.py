"""The line of fields that defines a kernel, and the base class of the benches that have one."""

from __future__ import annotations

import random
from typing import Any

from textual import events, on
from textual.widget import Widget
from textual.widgets import Input, Select

from core.convolution import MAX_KERNEL, NAMED, Kernel, kernel_text, named_kernel, parse_kernel, sizes_of
from core.engine.lab_messages import LayerKernel
from core.errors import MinidiffError
from tui.lab.bench import Bench, ReplyT
from tui.lab.fields import FieldRow, choice, entry
from tui.lab.lab_input import LabInput
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect

CUSTOM, LAYER = "custom", "from a layer"
FIRST_LAYER = "into 0 0"  # of the built-in networks: a layer, an output and an input channel
SEEDS = 10_000


class KernelFields:
    """A kernel's name, size and numbers. Choosing a name or a size fills in the numbers."""

    def __init__(self, bench: Bench[Any], name: str) -> None:
        self._bench = bench
        self._name = name
        self._seed = 0  # of the random kernel
        self._text = kernel_text(named_kernel(name))  # the numbers that were filled in

    def compose(self) -> FieldRow:
        """The line of fields."""
        numbers = entry("numbers", self._text, width=20)
        numbers.styles.width = "1fr"
        names = choice("kernel", (*NAMED, CUSTOM, LAYER), self._name, width=17)
        return FieldRow(("kernel", names), ("size", entry("size", "3", width=4)), ("numbers", numbers))

    def read(self) -> Kernel | LayerKernel:
        """The kernel, or the layer and channels to take it from.

        Raises:
            MinidiffError: the numbers field holds neither.
        """
        text = self._bench.query_one("#numbers", Input).value
        if self.chosen != LAYER:
            return parse_kernel(text)
        words = text.split()
        if len(words) != 3 or not all(word.isdecimal() for word in words[1:]):
            raise MinidiffError(
                f"enter a layer, an output channel and an input channel, such as {FIRST_LAYER}, not {text or 'nothing'}"
            )
        return LayerKernel(words[0], int(words[1]), int(words[2]))

    @property
    def chosen(self) -> str:
        """The chosen name."""
        return self._bench.query_one("#kernel", CompactSelect).chosen

    def update(self, changed: Widget) -> bool:
        """Update the other fields after `changed` changed; returns whether the kernel may be another."""
        numbers, size = self._bench.query_one("#numbers", Input), self._bench.query_one("#size", Input)
        names = self._bench.query_one("#kernel", CompactSelect)
        if changed is numbers:
            if self.chosen not in (CUSTOM, LAYER) and numbers.value != self._text:
                names.set_values(names.values, CUSTOM)
            return True
        if changed is names or changed is size:
            if self.chosen == LAYER:
                text = FIRST_LAYER
            elif self.chosen == CUSTOM:
                return changed is names
            else:
                sizes = sizes_of(self.chosen)
                if changed is names and size.value not in map(str, sizes):
                    with size.prevent(Input.Changed):
                        size.value = "3"
                text = kernel_text(named_kernel(self.chosen, self._bench.number("size", 1, MAX_KERNEL), self._seed))
            self._text = text
            with numbers.prevent(Input.Changed):
                numbers.value = text
        return True

    def fill(self, kernel: Kernel | LayerKernel) -> None:
        """Show a kernel, under its name if it has one, without posting `Changed`."""
        if isinstance(kernel, LayerKernel):
            name, self._text = LAYER, f"{kernel.layer} {kernel.out_channel} {kernel.in_channel}"
        else:
            size, self._text = len(kernel), kernel_text(kernel)
            named = (
                name for name in NAMED if size in sizes_of(name) and named_kernel(name, size, self._seed) == kernel
            )
            name = next(named, CUSTOM)
            if name != CUSTOM:
                self._bench.set_fields(size=size)
        self._bench.set_fields(kernel=name, numbers=self._text)

    def randomize(self) -> None:
        """Choose new random numbers."""
        self._seed = (self._seed + random.randrange(1, SEEDS)) % SEEDS
        names = self._bench.query_one("#kernel", CompactSelect)
        names.set_values(names.values, "random")
        self.update(names)

    def script(self, subject: LabInput) -> tuple[list[str], list[str]]:
        """Lines of Python that define `kernel`: the imports, and the rest."""
        kernel = self.read()
        if not isinstance(kernel, LayerKernel):
            return [], [f"kernel = {kernel!r}"]
        return ["from core import load_model", "from core.lab import layer_kernels"], [
            f'kernels = layer_kernels(load_model("{subject.model}", device="cpu").net)',
            f'kernel = kernels["{kernel.layer}"][{kernel.out_channel}, {kernel.in_channel}]',
        ]


class KernelBench(Bench[ReplyT]):
    """A bench with kernel fields, initially the kernel called `kernel`."""

    def __init__(self, pacer: FramePacer | None, kernel: str, *, still: bool) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._kernel = KernelFields(self, kernel)

    @on(Input.Changed)
    @on(Select.Changed)
    def _update_fields(self, event: Input.Changed | Select.Changed) -> None:
        event.prevent_default()
        event.stop()
        try:
            kernel_changed = self._kernel.update(event.control)
        except MinidiffError as error:
            self.show_error(str(error))
            return
        if kernel_changed:
            self.changed()

    def randomize(self) -> None:
        """Choose a new random kernel."""
        self._kernel.randomize()
        self.changed()

    def on_key(self, event: events.Key) -> None:
        """Enter in a field shows its error again, if it has one."""
        if event.key == "enter":
            self.changed()
