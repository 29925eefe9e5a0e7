"""The panes of a comparison: titles that say what differs, and the images of one noise level."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from core.runs.trajectory import Frame
from tui.class_names import class_name
from tui.comparison import MAX_PANES, Compared, agreement, frame_at, leader_of, titles
from tui.widgets.captions import Caption
from tui.widgets.denoising_view import NO_PREDICTION
from tui.widgets.panes import Pane, Panes, Shape

FOUR_PANES = 100, 30  # columns and rows of the terminal that more than two panes need


class ComparisonView(Panes):
    """Displays the sides of a comparison, two at a time on a small terminal; posts no messages.

    Attributes:
        show_states: Whether to show noisy states instead of predictions.
    """

    def __init__(self) -> None:
        super().__init__(*(f"pane-{index}" for index in range(MAX_PANES)))
        self._sides: Sequence[Compared] = ()
        self._selected = 0
        self._sampled: Compared | None = None
        self._position = 0  # of the timeline
        self.show_states = False

    @property
    def capacity(self) -> int:
        """The number of panes shown at a time."""
        size = self.app.size
        return MAX_PANES if size.width >= FOUR_PANES[0] and size.height >= FOUR_PANES[1] else 2

    @property
    def in_view(self) -> range:
        """The indices of the sides that are shown."""
        first = self._selected // self.capacity * self.capacity
        return range(first, min(len(self._sides), first + self.capacity))

    def pane_of(self, index: int) -> Pane:
        """The pane of a side."""
        return self.pane(f"pane-{index}")

    def on_mount(self) -> None:
        """Hide all panes; Textual calls the handler of the base class, too."""
        for index in range(MAX_PANES):
            self.pane_of(index).display = False

    def on_resize(self) -> None:
        """Show as many panes as there is room for."""
        self._refresh_panes()

    def set_sides(self, sides: Sequence[Compared], selected: int, sampled: Compared | None) -> None:
        """Show at least one side; `selected` is the index of the marked one, `sampled` the one being sampled."""
        self._sides, self._selected, self._sampled = list(sides), selected, sampled
        self._refresh_panes()

    def set_position(self, position: int) -> None:
        """Draw all panes at a step of the side with the most steps."""
        self._position = position
        for index in self.in_view:
            self._draw(index)

    def on_frame(self, side: Compared, frame: Frame) -> None:
        """Draw a new frame, if the timeline is there."""
        index = self._sides.index(side)
        if index in self.in_view and self._frame_of(side) is frame:
            self._draw(index)
        self._update_titles()

    def _refresh_panes(self) -> None:
        """Arrange, title and draw the panes that there is room for."""
        if not self._sides:
            return
        visible = self.in_view
        for index in range(MAX_PANES):
            self.pane_of(index).display = index in visible
        self.arrange_panes([_shape(self._sides[index]) for index in visible])
        self._update_titles()
        self.set_position(self._position)

    def _frame_of(self, side: Compared) -> Frame | None:
        return frame_at(self._position, side, leader_of(self._sides), states=self.show_states)

    def _draw(self, index: int) -> None:
        side = self._sides[index]
        grid, frame, denoising = self.pane_of(index).grid, self._frame_of(side), side.denoising
        images = None if frame is None else frame.x if self.show_states else frame.prediction
        if frame is None or denoising is None:
            grid.show_message(side.error)
        elif images is None:
            grid.show_message(NO_PREDICTION)
        else:
            grid.characters = denoising.characters
            read = () if self.show_states else frame.read or ()
            captions = [Caption(class_name(label, side.class_names), f" {percent}%") for label, percent in read]
            captions = captions or [Caption("")] * denoising.n  # images do not move when there is one later
            size = denoising.n, denoising.height, denoising.width
            grid.set_images(images, *size, captions, channels=denoising.channels)

    def _update_titles(self) -> None:
        names = titles(self._sides)
        for index in self.in_view:
            side, is_selected = self._sides[index], index == self._selected
            name = ("" if len(self._sides) == 1 else "▸ " if is_selected else "  ") + names[index]
            style = "bold $accent" if is_selected else "bold"
            notes = [Content.styled(text, "$foreground 50%") for text in self._notes(side)]
            if side.error:
                notes = [Content.styled("failed", "$text-error")]
            self.pane_of(index).set_title(*((Content.styled(name, style), note) for note in notes))

    def _notes(self, side: Compared) -> list[str]:
        """The state of a side, or its result and cost; longest first."""
        if side is self._sampled:
            step = f", step {side.frames[-1].index} of {side.steps}" if side.frames else ""
            return ["sampling" + step, "sampling"]
        if not side.complete:
            return ["waiting"]
        time = f"{side.seconds:.2f} s" if side.seconds is not None else ""
        agreed, cost = agreement(side, self._sides[0]), f"NFE {side.nfe:,}"
        choices = ((cost, agreed, time), (cost, agreed.partition(" ")[0], time), (cost, agreed), (cost,))
        return [", ".join(part for part in parts if part) for parts in choices]


def _shape(side: Compared) -> Shape:
    if side.denoising is not None:
        return Shape(side.denoising.n, side.denoising.height, side.denoising.width)
    return Shape(side.request.n, *side.config.info.shape[1:])
