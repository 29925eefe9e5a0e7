"""The input fields of the Lab."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Input, Label

from core.config.sampling import NO_CLASS
from tui.class_names import class_name
from tui.widgets.compact_select import CompactSelect
from tui.widgets.field import Field

OWN_CLASS, ANY_CLASS = "its own", "any"  # options besides the classes


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
