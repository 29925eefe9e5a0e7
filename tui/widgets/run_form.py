"""The form of a new run, made from `TrainConfig`: a row a field, grouped and explained as the config declares them."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select, Static, Switch

from core.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from core.config import TrainConfig


class Choice(Select[str], inherit_bindings=False):
    """A select whose arrow keys are left to the form, to move between its rows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "show_overlay", "Choose", show=False)]

    def __init__(self, values: tuple[str, ...], value: str, *, id: str) -> None:
        super().__init__([(name, name) for name in values], value=value, allow_blank=False, compact=True, id=id)


class RunForm(Vertical):
    """Fields for every option of a run; what cannot be read is explained below, and what was typed stays."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    DEFAULT_CSS = """
    RunForm {
        align-horizontal: center;
        & > * { max-width: 130; }
        & > VerticalScroll { height: 1fr; padding: 0 1; }
        .row { height: 1; }
        .group { width: 10; color: $text-accent; text-style: bold; }
        .name { width: 18; }
        .row > Input, .row > Choice { width: 20; }
        .row > Input { background: $surface; }
        .row > Input.-wrong { background: $error 35%; }
        .row > Input:focus, .row > Choice:focus SelectCurrent { background: $primary 45%; }
        .row > Switch { border: none; padding: 0 16 0 0; height: 1; width: 20; background: $surface; }
        .row > Switch > .switch--slider { color: $foreground 50%; background: $panel-lighten-2; }
        .row > Switch.-on > .switch--slider { color: $success; }
        .row > Switch:focus { border: none; background: $primary 45%; }
        Choice SelectCurrent { background: $surface; padding: 0; border: none; }
        .help { width: 1fr; color: $text-muted; margin-left: 2; text-wrap: nowrap; text-overflow: ellipsis; }
        #told { height: 3; padding: 0 1; }
        #start { min-width: 18; margin-right: 2; }
        #message { width: 1fr; height: 3; content-align: left middle; color: $text-muted; }
        #message.-wrong { color: $text-error; text-style: bold; }
    }
    .-wide RunForm, .-broad RunForm {
        .row > Input, .row > Choice { width: 32; }
        .row > Switch { width: 32; padding: 0 28 0 0; }
    }
    .-medium RunForm, .-tall RunForm {
        padding-top: 1;
        & > VerticalScroll { height: auto; }
        .row.-last { margin-bottom: 1; }
    }
    .-tall RunForm {
        padding-top: 2;
        .row { margin-bottom: 1; }
        .row.-last { margin-bottom: 2; }
    }
    .-slim RunForm {
        .group { display: none; }
        .help { display: none; }
        .row > Input, .row > Choice, .row > Switch { width: 1fr; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    class Submitted(Message):
        """A person wants a run with what the form says."""

    def __init__(self, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._root = root

    def compose(self) -> ComposeResult:
        from core.config import TrainConfig

        with VerticalScroll(can_focus=False):
            above = ""
            fields = list(TrainConfig.model_fields.items())
            for index, (name, field) in enumerate(fields):
                group = _group(field)
                last = index + 1 == len(fields) or _group(fields[index + 1][1]) != group
                with Horizontal(classes="row -last" if last else "row"):
                    yield Label(group if group != above else "", classes="group")
                    yield Label(name.replace("_", " "), classes="name")
                    yield self._entry(name, field)
                    yield Label(field.description or "", classes="help", markup=False)
                above = group
        with Horizontal(id="told"):
            yield Button("Start training", id="start", variant="success")
            yield Static("", id="message", markup=False)

    def _entry(self, name: str, field: FieldInfo) -> Widget:
        kind, optional = _kind(field)
        default = "" if field.default is None else _shown(field.default)
        if typing.get_origin(kind) is typing.Literal:
            return Choice(typing.get_args(kind), default, id=f"field-{name}")
        if kind is bool:
            return Switch(bool(field.default), animate=False, id=f"field-{name}")
        empty = (
            str(self._root) if name == "root" else "chosen for you" if name == "name" else "none" if optional else ""
        )
        return Input(default, placeholder=empty, compact=True, select_on_focus=False, id=f"field-{name}")

    def on_mount(self) -> None:
        self.query_one("#field-preset").focus()

    def values(self) -> dict[str, Any]:
        """What the fields hold, by option: empty ones that may be left out are None, numbers are numbers."""
        from core.config import TrainConfig

        found: dict[str, Any] = {}
        for name, field in TrainConfig.model_fields.items():
            entry = self.query_one(f"#field-{name}")
            if isinstance(entry, Input):
                found[name] = _typed(entry.value.strip(), *_kind(field))
            elif isinstance(entry, Choice | Switch):
                found[name] = entry.value
        if found["root"] is None:
            found["root"] = self._root
        return found

    def config(self) -> TrainConfig:
        """The config that the form describes.

        Raises:
            ConfigError: a value is outside its range; the text names the option.
        """
        from core.config import TrainConfig

        return TrainConfig(**self.values())

    def fill(self, values: dict[str, Any]) -> None:
        """Write the given options into their fields; the others keep what they hold."""
        for name, value in values.items():
            entry = self.query_one(f"#field-{name}")
            if isinstance(entry, Input):
                entry.value = "" if value is None else _shown(value)
            elif isinstance(entry, Choice | Switch):
                entry.value = value

    def complain(self, message: str) -> None:
        """Show what is wrong, and go to the field that the message begins with."""
        self._say(message, wrong=True)
        option = message.split(":", 1)[0].split(" ")[-1]
        for entry in self.query("Input, Choice, Switch").results(Widget):
            wrong = entry.id == f"field-{option}"
            entry.set_class(wrong, "-wrong")
            if wrong:
                entry.focus()

    def clear_complaint(self) -> None:
        self._say("", wrong=False)
        for entry in self.query(".-wrong"):
            entry.remove_class("-wrong")

    def _say(self, text: str, *, wrong: bool) -> None:
        line = self.query_one("#message", Static)
        line.set_class(wrong, "-wrong")
        line.update(text)

    @on(Select.Changed, "#field-preset")
    def _refill(self, event: Select.Changed) -> None:
        """Put what the chosen preset sets into the form; what only other presets set goes back to its default."""
        from core.config import PRESETS, TrainConfig

        names = {name for preset in PRESETS.values() for name in preset}
        chosen = PRESETS[str(event.value)]
        self.fill({name: chosen.get(name, TrainConfig.model_fields[name].default) for name in names})

    @on(Input.Changed)
    def _typing(self) -> None:
        if self.query_one("#message").has_class("-wrong"):
            self.clear_complaint()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Explain the focused field in full, for where its row has no room for that."""
        from core.config import TrainConfig

        name = (event.widget.id or "").removeprefix("field-")
        if name in TrainConfig.model_fields and not self.query_one("#message").has_class("-wrong"):
            self._say(f"{name}: {TrainConfig.model_fields[name].description}", wrong=False)

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def _submit(self, event: Message) -> None:
        event.stop()
        self.submit()

    def submit(self) -> None:
        """Ask for a run, unless a value is wrong, which is then explained."""
        try:
            self.config()
        except ConfigError as error:
            self.complain(str(error))
            return
        self.clear_complaint()
        self.post_message(self.Submitted())


def _group(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def _kind(field: FieldInfo) -> tuple[Any, bool]:
    """The field's type without its None, and whether None is allowed."""
    kind = field.annotation
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        rest = [part for part in typing.get_args(kind) if part is not types.NoneType]
        return rest[0], len(rest) < len(typing.get_args(kind))
    return kind, False


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _typed(text: str, kind: Any, optional: bool) -> Any:
    """`text` as a value of `kind`; where it cannot be one it stays text, for the config to refuse in its own words."""
    if not text and optional:
        return None
    if typing.get_origin(kind) is tuple:
        return tuple(_number(part, int) for part in text.replace(",", " ").split())
    return _number(text, kind) if kind in (int, float) else text


def _number(text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text
