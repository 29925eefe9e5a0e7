"""The line of fields for a kernel, and what the benches that have one share."""

from __future__ import annotations

import random
from typing import Any

from textual import events, on
from textual.widget import Widget
from textual.widgets import Input, Select

from core.convolution import MAX_KERNEL, NAMED, Kernel, kernel_text, named_kernel, parse_kernel, sizes_of
from core.errors import MinidiffError
from tui.lab.bench import Bench, FieldRow, LabInput, choice, entry
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect

OWN, LAYER = "own numbers", "a layer's"
FIRST_LAYER = "into 0 0"  # of the built-in nets: a layer and its channels
SEEDS = 10_000


class KernelFields:
    """The fields for a kernel, a name, a size, and the numbers themselves."""

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self._name = name
        self._seed = 0  # of the random kernel
        self._text = kernel_text(named_kernel(name))  # the numbers that nobody typed

    def compose(self) -> FieldRow:
        """One line."""
        numbers = entry("numbers", self._text, width=20)
        numbers.styles.width = "1fr"
        names = choice("kernel", (*NAMED, OWN, LAYER), self._name, width=17)
        return FieldRow(("kernel", names), ("size", entry("size", "3", width=4)), ("numbers", numbers))

    def read(self) -> Kernel | dict[str, Any]:
        """The kernel, or the layer and channels that it is to be taken from.

        Raises:
            MinidiffError: what was typed is neither.
        """
        text = self._bench.query_one("#numbers", Input).value
        if self.chosen != LAYER:
            return parse_kernel(text)
        words = text.split()
        if len(words) != 3 or not all(word.isdecimal() for word in words[1:]):
            raise MinidiffError(f"a layer's kernel is its name, an output and an input channel: into 0 0, not {text}")
        return {"layer": words[0], "out": int(words[1]), "in": int(words[2])}

    @property
    def chosen(self) -> str:
        """The name that is chosen."""
        return self._bench.query_one("#kernel", CompactSelect).chosen

    def follow(self, changed: Widget) -> bool:
        """Let the other fields follow the one that changed; whether there is anything to be asked for."""
        numbers, size = self._bench.query_one("#numbers", Input), self._bench.query_one("#size", Input)
        names = self._bench.query_one("#kernel", CompactSelect)
        if changed is numbers:
            if self.chosen not in (OWN, LAYER) and numbers.value != self._text:
                names.set_values(names.values, OWN)
            return True
        if changed is names or changed is size:
            if self.chosen == LAYER:
                text = FIRST_LAYER
            elif self.chosen == OWN:
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

    def draw_another(self) -> None:
        """Other random numbers."""
        self._seed = random.randrange(SEEDS)
        names = self._bench.query_one("#kernel", CompactSelect)
        names.set_values(names.values, "random")
        self.follow(names)

    def script(self, subject: LabInput) -> tuple[list[str], list[str]]:
        """Lines of Python that have the kernel as `kernel`: what is imported, and the rest."""
        kernel = self.read()
        if not isinstance(kernel, dict):
            return [], [f"kernel = {kernel!r}"]
        return ["from core import load_model", "from core.lab import layer_kernels"], [
            f'kernels = layer_kernels(load_model("{subject.model}", device="cpu").net)',
            f'kernel = kernels["{kernel["layer"]}"][{kernel["out"]}, {kernel["in"]}]',
        ]


class KernelBench(Bench):
    """A bench with a kernel that starts as the one called `kernel`."""

    def __init__(self, pacer: FramePacer | None, kernel: str, *, still: bool) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._kernel = KernelFields(self, kernel)

    @on(Input.Changed)
    @on(Select.Changed)
    def _follow(self, event: Input.Changed | Select.Changed) -> None:
        event.prevent_default()
        event.stop()
        try:
            asks = self._kernel.follow(event.control)
        except MinidiffError as error:
            self.show_error(str(error))
            return
        if asks:
            self.changed()

    def another(self) -> None:
        """Another random kernel."""
        self._kernel.draw_another()
        self.changed()

    def on_key(self, event: events.Key) -> None:
        """Enter in a field says again what is wrong, if anything is."""
        if event.key == "enter":
            self.changed()
