"""The export dialog: what to export and to which folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from core.runs.trajectory import Denoising
from tui.widgets.field import Field
from tui.widgets.modal import Modal


@dataclass(frozen=True)
class Export:
    """The kind of export, "grid", "figure" or "gif", and the file to write."""

    kind: str
    path: Path


class ExportScreen(Modal[Export | None]):
    """Dismissed with the chosen export, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "Close")]
    DEFAULT_CSS = """
    ExportScreen {
        & > Vertical { width: 66; }
        & OptionList { height: auto; border: none !important; background: $surface; padding: 0; }
        & OptionList:focus { background-tint: $surface 0%; }
        & #unfinished { color: $text-warning; margin-top: 1; }
        & Label { color: $foreground 50%; margin-top: 1; }
        & Input { border: none; height: 1; padding: 0 1; background: $panel; }
        & Input:focus { background: $primary 30%; }
    }
    """

    def __init__(self, denoising: Denoising, index: int) -> None:
        super().__init__()
        self.denoising = denoising  # what is exported
        stem = f"{denoising.model}-seed{denoising.seed}-{denoising.steps}steps"
        self._names = {
            "grid": f"{stem}-at{index}.png",
            "figure": f"{stem}-figure.png",
            "gif": f"{stem}.gif",
        }
        self._titles = {
            "grid": f"Grid, step {index} as PNG",
            "figure": "Figure with one row per step as PNG",
            "gif": "Animation as GIF",
        }

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Export"
            box.border_subtitle = "enter exports · tab folder · esc closes"
            yield OptionList(*(Option(self._prompt(kind), kind, not self._is_ready(kind)) for kind in self._titles))
            unfinished = Static("Still sampling: only the grid can be exported before the last step.", id="unfinished")
            unfinished.display = not self.denoising.complete
            yield unfinished
            yield Label("Folder")
            yield Field(str(Path.cwd()))

    def _is_ready(self, kind: str) -> bool:
        return kind == "grid" or self.denoising.complete

    def _prompt(self, kind: str) -> Content:
        return Content.assemble(self._titles[kind], (f"\n  {self._names[kind]}", "$foreground 50%"))

    def set_denoising(self, denoising: Denoising) -> None:
        """Replace the trajectory by one with more steps; the last one makes all kinds available."""
        self.denoising = denoising
        if denoising.complete:
            self.query_one("#unfinished").display = False
            for kind in self._titles:
                self.query_one(OptionList).enable_option(kind)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Export the selected kind."""
        self._choose(str(event.option_id))

    def on_input_submitted(self) -> None:
        """Export the highlighted kind."""
        highlighted = self.query_one(OptionList).highlighted
        self._choose(list(self._titles)[highlighted or 0])

    def _choose(self, kind: str) -> None:
        folder = Path(os.path.expanduser(self.query_one(Input).value.strip() or ".")).resolve()
        self.dismiss(Export(kind, folder / self._names[kind]))
