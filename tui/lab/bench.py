"""What the Lab's benches share: input fields, a timeline, a description, and requests to the engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypedDict, TypeVar

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Select, Static, Switch

from core.config.sampling import NO_CLASS
from core.engine.protocol import DatasetImage, DrawnImage, LabReply, LabRequest
from core.errors import MinidiffError
from tui.class_names import class_name
from tui.widgets.compact_select import CompactSelect
from tui.widgets.field import Field
from tui.widgets.timeline import Timeline

FULL_TEXT_ROWS = 30  # terminal rows from which the whole description is shown
HINT_ROWS = 22  # terminal rows from which the suggestion is shown
FORMULA_COLUMNS = 72  # columns from which the formula of the output size is shown
OWN_CLASS, ANY_CLASS = "its own", "any"  # options besides the classes

ReplyT = TypeVar("ReplyT", bound=LabReply)


class Panel(NamedTuple):
    """One uint8 image of an exported picture."""

    title: str
    shape: tuple[int, int]
    image: bytes


class SharedFields(TypedDict):
    """The fields of a `LabRequest` that are the same for every bench."""

    image: DatasetImage | DrawnImage
    model: str
    seed: int


@dataclass(frozen=True)
class LabInput:
    """What every bench works on: an image, a model, and the seed of the noise."""

    dataset: str
    index: int
    model: str
    seed: int = 0
    pixels: str | None = None  # of a drawn image, in hexadecimal
    shape: tuple[int, int, int] = (1, 28, 28)  # of the model's images: channels, height, width
    null_class: int = 10
    channel: int | None = None  # of an RGB image, for the benches that take one; None: its luminance

    @property
    def fields(self) -> SharedFields:
        """As fields of a request."""
        image = DatasetImage(self.dataset, self.index) if self.pixels is None else DrawnImage(self.pixels)
        return {"image": image, "model": self.model, "seed": self.seed}

    @property
    def script(self) -> list[str]:
        """Lines of Python that define `image`, (H, W) in [0, 1], and for RGB also `pixels`, (3, H, W)."""
        grey = "luminance(pixels)" if self.channel is None else f"pixels[{self.channel}]"
        if self.pixels is not None:
            return [
                "import torch",
                "",
                f'drawn = bytearray.fromhex("{self.pixels}")',
                "image = torch.frombuffer(drawn, dtype=torch.uint8).reshape(28, 28) / 255",
            ]
        return [
            "from core import load_dataset",
            *(["from core.lab import luminance"] if self.shape[0] > 1 and self.channel is None else []),
            "",
            f'images = load_dataset({self.dataset!r}, split="test", limit={self.index + 1})',
            *(
                [f"pixels = images.images[{self.index}] / 255", f"image = {grey}"]
                if self.shape[0] > 1
                else [f"image = images.images[{self.index}, 0] / 255"]
            ),
        ]

    @property
    def model_image(self) -> str:
        """Python for the image as the model takes it, (C, H, W)."""
        return "pixels" if self.shape[0] > 1 else "image[None]"


class FieldRow(Horizontal):
    """A line of input fields, each with its label."""

    SCOPED_CSS = False  # the rules for narrow terminals use the screen's classes
    DEFAULT_CSS = """
    FieldRow {
        height: 1;
        & Label { color: $foreground 50%; margin: 0 1 0 2; }
        & Label.first { margin: 0 1 0 0; }
        & Input { height: 1; border: none; padding: 0 1 !important; background: $panel; width: 5; }
        & Input:focus { background: $primary 30%; }
        & Input.-wrong { background: $error 40%; }
        & SelectCurrent { background: $panel; border: none; padding: 0 0 0 1 !important; height: 1; }
        & Select:focus > SelectCurrent { background: $primary 30%; border: none; }
        & Switch { border: none; height: 1; padding: 0; width: 4; background: $panel; }
        & Switch:focus { background: $primary 30%; }
    }
    .-narrow Bench FieldRow Label { margin: 0 0 0 1; }
    .-narrow Bench FieldRow Label.first { margin: 0; }
    """

    def __init__(self, *fields: Widget | tuple[str, Widget], id: str | None = None) -> None:
        children: list[Widget] = []
        for number, field in enumerate(fields):
            label, widget = field if isinstance(field, tuple) else ("", field)
            if label:
                children.append(Label(label, classes="" if number else "first"))
            children.append(widget)
        super().__init__(*children, id=id)


class Bench(Vertical, Generic[ReplyT]):
    """One bench of the Lab. Posts `Changed` when a field changes; the screen then sends its request to the engine."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME: ClassVar[str]  # also the widget's id
    TITLE: ClassVar[str]
    ABOUT: ClassVar[str]  # a short text; its first sentence stands alone in small terminals
    TRY: ClassVar[str]  # a suggestion
    REQUEST: ClassVar[type[LabRequest]]  # the type of its requests
    REPLIES: ClassVar[tuple[type[LabReply], ...]]  # the replies that this bench shows
    DEFAULT_CSS = """
    Bench {
        height: 1fr; padding: 0 1;
        & .pictures { height: 1fr; }
        & .caption { height: 1; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        & .captions { height: 1; }
        & .captions Static { width: 1fr; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        & .captions .right { width: auto; max-width: 75%; margin: 0 0 0 1; text-align: right; }
        & .description { height: auto; color: $foreground 70%; }
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
        """Class names of the image's dataset,"""
        self.model_classes: Sequence[str] = ()
        """and of the model's."""
        self.about = self.ABOUT
        self._description = Content()

    def compose(self) -> ComposeResult:
        yield from self.fields()
        yield from self.pictures()
        yield Static(classes="description", markup=False)

    def fields(self) -> Iterator[Widget]:
        """Lines of input fields."""
        yield from ()

    def pictures(self) -> Iterator[Widget]:
        """All widgets between the fields and the description."""
        yield from ()

    def on_mount(self) -> None:
        self.show_about()

    def on_resize(self) -> None:
        self.show_about()

    @property
    def timeline(self) -> Timeline | None:
        """The bench's timeline, if it has one."""
        timelines = self.query(Timeline)
        return timelines.first() if timelines else None

    @property
    def has_more_views(self) -> bool:
        """Whether some views are hidden for lack of space."""
        return False

    def next_view(self) -> None:
        """Show the next view."""

    def activate(self) -> None:
        """Called when the bench becomes visible; may focus a widget."""

    # Requests

    def request(self, subject: LabInput) -> LabRequest:
        """The request that the fields describe.

        Raises:
            MinidiffError: a field has an invalid value.
        """
        raise NotImplementedError

    def fill(self, request: LabRequest) -> None:
        """Set the fields to those of a request of this bench, without posting `Changed`."""
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

    def show_reply(self, reply: LabReply) -> None:
        """Display a reply of one of the types `REPLIES`."""

    def draw(self) -> None:
        """Draw the step at the timeline's position."""

    def on_timeline_moved(self, message: Timeline.Moved) -> None:
        message.stop()
        self.draw()

    def show_about(self) -> None:
        """Show the description, as much of it as the terminal has rows for."""
        rows = self.screen.size.height
        about = self.about if rows >= FULL_TEXT_ROWS else self.about.partition(". ")[0].rstrip(".") + "."
        hint = Content.assemble("\n", ("Try ", "bold $accent"), self.TRY) if rows >= HINT_ROWS else Content()
        self._describe(Content(about) + hint, wrong=False)

    def show_error(self, message: str) -> None:
        """Show an error in place of the description."""
        self._describe(Content(message), wrong=True)

    def _describe(self, text: Content, *, wrong: bool) -> None:
        description = self.query_one(".description", Static)
        description.set_class(wrong, "-wrong")
        if text != self._description:
            self._description = text
            description.update(text)

    def set_caption(self, selector: str, text: str) -> None:
        """Set the caption of a picture."""
        caption = self.query_one(selector, Static)
        caption.update(text, layout=caption.has_class("right"))

    # Export

    def panels(self) -> list[Panel]:
        """The images to export."""
        return []

    def script(self, subject: LabInput) -> list[str]:
        """Lines of Python that compute what is shown."""
        return subject.script


def captions(left: str, right: str) -> Horizontal:
    """The line above the pictures, with the captions `#left` and `#right`."""
    return Horizontal(Static(left, id="left"), Static(right, id="right", classes="right"), classes="captions")


def entry(name: str, value: str, *, width: int = 5) -> Input:
    """A short input field."""
    made = Field(value, id=name, compact=True, select_on_focus=True)
    made.styles.width = width
    return made


class ClassField(CompactSelect):
    """The field `class`: the class given to the model."""

    def __init__(self, width: int) -> None:
        super().__init__([OWN_CLASS, ANY_CLASS], OWN_CLASS, id="class")
        self.styles.width = width

    def set_names(self, names: Sequence[str]) -> None:
        """Set the names of the model's classes; keeps the selection if there is such a class."""
        labels = {str(label): class_name(label, names) for label in range(len(names))}
        values = {OWN_CLASS: OWN_CLASS, ANY_CLASS: ANY_CLASS, **labels}
        self.set_values(values, self.chosen if self.chosen in values else OWN_CLASS)

    @staticmethod
    def option(label: int | None) -> str:
        """The inverse of `label`."""
        return {None: OWN_CLASS, NO_CLASS: ANY_CLASS}.get(label, str(label))

    @property
    def label(self) -> int | None:
        """The class, as in requests."""
        return None if self.chosen == OWN_CLASS else NO_CLASS if self.chosen == ANY_CLASS else int(self.chosen)


def choice(name: str, values: Iterable[str], value: str, *, width: int) -> CompactSelect:
    """A field with a list of options."""
    made = CompactSelect(values, value, id=name)
    made.styles.width = width
    return made
