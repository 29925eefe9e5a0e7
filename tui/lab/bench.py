"""What the Lab's benches share: input fields, a timeline, a description, and requests to the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Select, Static, Switch

from core.engine.protocol import EngineReply, EngineRequest
from core.errors import MinidiffError
from tui.lab.lab_input import LabInput
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

FULL_TEXT_ROWS = 30  # terminal rows from which the whole description and the suggestion are shown

ReplyT = TypeVar("ReplyT", bound=EngineReply)


class ExportPanel(NamedTuple):
    """One uint8 image of an exported picture."""

    title: str
    shape: tuple[int, int]
    image: bytes


class Bench(Vertical, Generic[ReplyT]):
    """One bench of the Lab; posts `Changed` when a field changes. The screen then sends its request to the engine."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME: ClassVar[str]  # also the widget's id
    TITLE: ClassVar[str]
    ABOUT: ClassVar[str]  # the description
    SHORT: ClassVar[str]  # one line, for small terminals
    TRY: ClassVar[str]  # what to try, after the word "Try"
    REQUEST: ClassVar[type[EngineRequest]]  # the type of its requests
    VIEWS: ClassVar[tuple[str, ...]] = ()  # names of the views, if not all are visible in small terminals
    REPLIES: ClassVar[tuple[type[EngineReply], ...]]  # the replies that this bench shows
    USES_IMAGE: ClassVar[bool] = True  # whether it works on the image and the model chosen on the screen
    DEFAULT_CSS = """
    Bench {
        height: 1fr; padding: 0 1;
        & .pictures { height: 1fr; }
        & .caption { height: 1; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        & .foot { height: auto; }
        & .description { width: 1fr; height: auto; color: $foreground 70%; }
        & .description.-wrong { color: $text-error; }
    }
    """

    @dataclass
    class Changed(Message):
        """A field of the bench changed."""

        bench: Bench[Any]

    def __init__(self) -> None:
        super().__init__(id=self.NAME)
        self.shown: ReplyT | None = None
        """The reply on display."""
        self.image_classes: Sequence[str] = ()
        """Class names of the image's dataset."""
        self.model_classes: Sequence[str] = ()
        """Class names of the model's dataset."""
        self.about, self.short = self.ABOUT, self.SHORT
        """The description, and the one for small terminals."""
        self.question: Content | None = None
        """A question of the tutorial, in place of the description."""
        self._description = Content()
        self._error = ""  # in place of the description
        self._view = 0  # counts `next_view`

    def compose(self) -> ComposeResult:
        yield from self.fields()
        yield from self.pictures()
        with Horizontal(classes="foot"):
            yield from self.beside_description()
            yield Static(classes="description", markup=False)

    def fields(self) -> Iterator[Widget]:
        """Lines of input fields."""
        yield from ()

    def pictures(self) -> Iterator[Widget]:
        """All widgets between the fields and the description."""
        yield from ()

    def beside_description(self) -> Iterator[Widget]:
        """Widgets left of the description."""
        yield from ()

    def on_mount(self) -> None:
        self.show_about()
        self._arrange()

    def on_resize(self) -> None:
        if self._error:
            self.show_error(self._error)
        else:
            self.show_about()
        self._arrange()

    @property
    def timeline(self) -> Timeline | None:
        """The bench's timeline, if it has one."""
        timelines = self.query(Timeline)
        return timelines.first() if timelines else None

    # Views. Textual calls the handlers of this class and those of a subclass, so that none needs `super`.

    def _has_room(self, minimum: tuple[int, int]) -> bool:
        """Whether the terminal has at least these columns and rows."""
        width, height = self.screen.size
        return width >= minimum[0] and height >= minimum[1]

    @property
    def views(self) -> tuple[str, ...]:
        """The visible views."""
        return self.VIEWS

    @property
    def has_more_views(self) -> bool:
        """Whether some views are hidden for lack of space."""
        return self.views != self.VIEWS

    def next_view(self) -> None:
        """Show the next view."""
        self._view += 1
        self._arrange()

    def _arrange(self) -> None:
        """Show the visible views; called when the bench is mounted or resized, and for another view."""

    def activate(self) -> None:
        """Called when the bench becomes visible; may focus a widget."""

    # Requests

    def request(self, subject: LabInput) -> EngineRequest:
        """The request that the fields describe.

        Raises:
            MinidiffError: a field has an invalid value.
        """
        raise NotImplementedError

    def fill(self, request: Any) -> None:
        """Set the fields to those of a request of the type `REQUEST`, without posting `Changed`."""
        raise NotImplementedError

    def set_fields(self, **values: str | float) -> None:
        """Set fields, named by their ids, without posting `Changed`. Options that do not exist are ignored."""
        with self.prevent(Input.Changed, Select.Changed, Switch.Changed):
            for name, value in values.items():
                match self.query_one(f"#{name}"):
                    case Switch() as field:
                        field.value = bool(value)
                    case CompactSelect() as field if value in field.values:
                        field.value = str(value)
                    case Input() as field:
                        field.value = str(value)

    def number(self, name: str, minimum: int, maximum: int) -> int:
        """The whole number in a field.

        Raises:
            MinidiffError: it is not a whole number in this range.
        """
        text = self.query_one(f"#{name}", Input).value.strip()
        if not text.lstrip("-").isdecimal() or not minimum <= int(text) <= maximum:
            raise MinidiffError(f"{name} takes a whole number from {minimum} to {maximum}, not {text or 'nothing'}")
        return int(text)

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.changed()

    def on_select_changed(self, event: Select.Changed) -> None:
        event.stop()
        self.changed()

    def on_switch_changed(self, event: Switch.Changed) -> None:
        event.stop()
        self.changed()

    def changed(self) -> None:
        """Post `Changed`."""
        self.post_message(self.Changed(self))

    # Replies

    def show_reply(self, reply: Any) -> None:
        """Display a reply of one of the types `REPLIES`."""

    def draw(self) -> None:
        """Draw the step at the timeline's position."""

    def _set_steps(self, noise_levels: Sequence[float], position: int, *, first: bool) -> None:
        """Give the timeline the steps of a reply, one for each noise level.

        Args:
            noise_levels: Noise level of each step.
            position: The step to show at first.
            first: Whether this is the first reply; otherwise the timeline keeps its relative position.
        """
        timeline, steps = self.query_one(Timeline), len(noise_levels) - 1
        if first:
            timeline.load(steps, list(noise_levels))
            timeline.seek(position)
        else:
            timeline.replace_steps(steps, list(noise_levels))

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        message.stop()
        self.draw()

    def show_about(self) -> None:
        """Show the question, or the description, as much of it as the terminal has rows for."""
        self._error = ""
        if self.question is not None:
            self._describe(self.question, wrong=False)
        elif self.screen.size.height < FULL_TEXT_ROWS:
            self._describe(Content(self.short), wrong=False)
        else:
            hint = Content.assemble("\n", ("Try ", "bold $accent"), self.TRY)
            self._describe(Content(self.about) + hint, wrong=False)

    def show_error(self, message: str) -> None:
        """Show an error in place of the description, until the next request."""
        self._error = message
        self._describe(Content(message), wrong=True)

    def _describe(self, text: Content, *, wrong: bool) -> None:
        description = self.query_one(".description", Static)
        description.set_class(wrong, "-wrong")
        if text != self._description:
            self._description = text
            description.update(text)

    # Export

    def panels(self) -> list[ExportPanel]:
        """The images to export."""
        return []

    def script(self, subject: LabInput) -> list[str]:
        """Lines of Python that compute what is shown."""
        return subject.script
