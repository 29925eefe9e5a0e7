"""The form of a new run, made from `TrainConfig`: a row a field, grouped and explained as the config declares them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Label, Select, Static, Switch

from core.errors import ConfigError
from tui.widgets.collapsible import CollapsibleOptions
from tui.widgets.compact_select import CompactSelect
from tui.widgets.form_entries import WHILE_IDLE, entry_for, fitting_choices, group_of, idle_entries, read, shown, write

if TYPE_CHECKING:
    from core.config.training import TrainConfig

# What most people change, and the root, which would be folded away alone; the rest of each group is folded below it.
FIRST = (
    "preset",
    "class_conditional",
    "dataset",
    "model",
    "size",
    "epochs",
    "batch_size",
    "learning_rate",
    "seed",
    "device",
    "name",
    "root",
)
ALL_FIT = 55  # lines of a form that has room for every option


class FormRows(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The form's rows; what does not fit scrolls by pages, while the arrows move between the rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
    ]

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Draw all that is in sight anew.

        Textual leaves rows that moved as they were when, before it comes to draw, the layout changes too and a
        widget's place was asked for: the places it then compares with are the new ones already.
        """
        super().watch_scroll_y(old_value, new_value)
        self.refresh()


class RunForm(Vertical):
    """Fields for every option of a run; what cannot be read is explained below, and what was typed stays."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    DEFAULT_CSS = """
    RunForm {
        align-horizontal: center;
        & > * { max-width: 130; }
        & > VerticalScroll { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
        .part, .rest { height: auto; }
        .row { height: 1; }
        .group { width: 10; color: $text-accent; text-style: bold; }
        .name { width: 18; }
        .row > Input, .row > CompactSelect { width: 20; }
        .row > Input { background: $surface; }
        .row > Input.-wrong { background: $error 35%; }
        .row > Input:focus, .row > CompactSelect:focus SelectCurrent { background: $primary 45%; }
        .row > Switch { border: none; padding: 0 16 0 0; height: 1; width: 20; background: $surface; }
        .row > Switch > .switch--slider { color: $foreground 50%; background: $panel-lighten-2; }
        .row > Switch.-on > .switch--slider { color: $success; }
        .row > Switch:focus { border: none; background: $primary 45%; }
        .row.-idle .name { color: $foreground 40%; }
        CompactSelect SelectCurrent { background: $surface; padding: 0; border: none; }
        .help { width: 1fr; color: $text-muted; margin-left: 2; text-wrap: nowrap; text-overflow: ellipsis; }
        .row.-idle .help { color: $foreground 40%; text-style: italic; }
        .fold { height: 1; margin-left: 10; text-wrap: nowrap; text-overflow: ellipsis; }
        .fold:hover { background: $surface; }
        .fold:focus { background: $primary 45%; }
        #told { height: 3; padding: 0 1; }
        #start { min-width: 18; margin-right: 2; }
        #message { width: 1fr; height: 3; content-align: left middle; color: $text-muted; }
        #message.-wrong { color: $text-error; text-style: bold; }
    }
    .-wide RunForm, .-broad RunForm {
        .row > Input, .row > CompactSelect { width: 32; }
        .row > Switch { width: 32; padding: 0 28 0 0; }
    }
    .-broad RunForm > * { max-width: 150; }
    .-medium RunForm, .-tall RunForm {
        padding-top: 1;
        & > VerticalScroll { height: auto; max-height: 85%; }
        .part { margin-bottom: 1; }
    }
    .-tall RunForm > VerticalScroll { max-height: 90%; }
    .-slim RunForm {
        .group { display: none; }
        .help { display: none; }
        .row > Input, .row > CompactSelect { width: 1fr; }
        .fold { margin-left: 0; }
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
        self._entries: dict[str, Widget] = {}
        self._rows: dict[str, Horizontal] = {}
        self._helps: dict[str, Label] = {}
        self._set_aside: dict[str, Any] = {}  # what idle options held, for when they mean something again
        self._turned = False  # whether a person folded or unfolded anything
        self._told_at: Widget | None = None  # the entry whose change the message tells of

    def compose(self) -> ComposeResult:
        from core.config.training import TrainConfig

        fields = TrainConfig.model_fields
        with FormRows():
            for group, members in groupby(fields, lambda name: group_of(fields[name])):
                names = list(members)
                rest = [name for name in names if name not in FIRST]
                with Vertical(classes="part"):
                    for number, name in enumerate(name for name in names if name in FIRST):
                        yield self._row(name, group if not number else "")
                    if rest:
                        folded = Vertical(*(self._row(name) for name in rest), classes="rest")
                        folded.display = False
                        yield CollapsibleOptions(rest, folded)
                        yield folded
        with Horizontal(id="told"):
            yield Button("Start training", id="start", variant="success")
            yield Static("", id="message", markup=False)

    def _row(self, name: str, group: str = "") -> Horizontal:
        from core.config.training import TrainConfig

        field = TrainConfig.model_fields[name]
        entry = self._entries[name] = entry_for(name, field, str(self._root))
        told = self._helps[name] = Label(field.description or "", classes="help", markup=False)
        title = Label(name.replace("_", " "), classes="name")
        row = self._rows[name] = Horizontal(Label(group, classes="group"), title, entry, told, classes="row")
        return row

    def on_mount(self) -> None:
        self._resolve()
        self._entries["preset"].focus()

    # Values

    def values(self) -> dict[str, Any]:
        """What the fields hold, by option: empty ones that may be left out are None, numbers are numbers."""
        found = self._held()
        if found["root"] is None:
            found["root"] = self._root
        return found

    def _held(self) -> dict[str, Any]:
        from core.config.training import TrainConfig

        return {name: read(self._entries[name], field) for name, field in TrainConfig.model_fields.items()}

    def config(self) -> TrainConfig:
        """The config that the form describes.

        Raises:
            ConfigError: a value is outside its range; the text names the option.
        """
        from core.config.training import TrainConfig

        return TrainConfig(**self.values())

    def fill(self, values: dict[str, Any]) -> None:
        """Write the given options into their fields; the others keep what they hold."""
        for name, value in values.items():
            if name in self._set_aside:
                self._set_aside[name] = value
            else:
                write(self._entries[name], value)

    def begin_with(self, defaults: dict[str, Any]) -> None:
        """Fill in what the settings file says; what it says wrongly is complained of."""
        from core.config.training import PRESETS, TrainConfig

        try:
            known = TrainConfig(**defaults)
        except ConfigError as error:
            self.show_error(f"[training] of the settings file: {error}")
            return
        names = {*defaults, *(name for preset in PRESETS.values() for name in preset)} - {"preset", "root"}
        self.fork(known.preset, {name: getattr(known, name) for name in sorted(names)})

    def fork(self, preset: str, values: dict[str, Any]) -> None:
        """Write a preset and the given options, without what choosing the preset would fill in."""
        with self.prevent(Select.Changed):
            write(self._entries["preset"], preset)
        self.fill(values)
        self._resolve()

    def _preset(self) -> dict[str, Any]:
        """Every option as the chosen preset has it."""
        from core.config.training import PRESETS, TrainConfig

        preset = str(read(self._entries["preset"], TrainConfig.model_fields["preset"]))
        defaults = {name: field.default for name, field in TrainConfig.model_fields.items()}
        return {**defaults, **PRESETS[preset], "preset": preset}

    @on(Select.Changed, "#field-preset")
    def _refill(self) -> None:
        """Put what the chosen preset sets into the form; what only other presets set goes back to its default."""
        from core.config.training import PRESETS

        chosen = self._preset()
        self.fill({name: chosen[name] for preset in PRESETS.values() for name in preset})

    @on(Select.Changed)
    @on(Switch.Changed)
    def _changed(self, event: Select.Changed | Switch.Changed) -> None:
        if event.control.has_class("-wrong"):
            self.clear_error()
        self._resolve()

    def _resolve(self) -> None:
        """Grey out what does not go with what else is chosen, move what cannot stay, and say so."""
        notes = [*self._fit_choices(), *self._let_idle()]
        self._name_changes()
        if notes:
            self.clear_error()
            self._say("; ".join(notes), wrong=False)
            self._told_at = self.screen.focused

    def _fit_choices(self) -> Iterator[str]:
        """Grey out the choices that do not fit; what was moved for that."""
        held = self._held()
        for name, allowed in fitting_choices(held).items():
            entry = self._entries[name]
            assert isinstance(entry, CompactSelect)
            unfit = [value for value in entry.values if value not in allowed]
            lacking = f"{' and '.join(unfit)} is not for the path {held['path']}"
            entry.grey(unfit)
            self._explain(name, f"{_described(name)}; {lacking}" if unfit else _described(name))
            if entry.chosen in unfit:
                entry.value = allowed[0]
                yield f"{name} is now {allowed[0]}: {lacking}"

    def _let_idle(self) -> Iterator[str]:
        """Grey out the options that mean nothing now, and bring back those that do; what was lost by that."""
        idle = idle_entries(self._held())
        for name, entry in self._entries.items():
            if (name in idle) == entry.disabled:
                continue
            if name in idle and name in WHILE_IDLE:
                self._set_aside[name] = held = self._held()[name]
                write(entry, WHILE_IDLE[name])
                if held != WHILE_IDLE[name]:
                    yield f"{name}: {idle[name]}"
            elif name in self._set_aside:
                write(entry, self._set_aside.pop(name))
            entry.disabled = name in idle
            self._rows[name].set_class(entry.disabled, "-idle")
            self._explain(name, idle.get(name, _described(name)))

    def _explain(self, name: str, text: str) -> None:
        self._helps[name].update(text, layout=False)

    def _name_changes(self) -> None:
        preset, held = self._preset(), self._held()
        changed = {
            name: shown(held[name])
            for name, entry in self._entries.items()
            if not entry.disabled and held[name] != preset[name]
        }
        for fold in self.query(CollapsibleOptions):
            fold.name_changed({name: value for name, value in changed.items() if name in fold.names})

    # Folding

    def on_resize(self, event: events.Resize) -> None:
        """Show every option where all have room, until a person folds or unfolds."""
        if not self._turned:
            for fold in self.query(CollapsibleOptions):
                fold.turn(event.size.height >= ALL_FIT)

    @on(CollapsibleOptions.Toggled)
    def _note_turn(self) -> None:
        self._turned = True

    def unfold(self) -> None:
        """Show every option, or fold all groups if nothing is folded."""
        self._turned = True
        folds = list(self.query(CollapsibleOptions))
        unfold = not all(fold.open for fold in folds)
        for fold in folds:
            fold.turn(unfold)

    def _reveal(self, name: str) -> None:
        for fold in self.query(CollapsibleOptions):
            if name in fold.names:
                fold.turn(True)

    # What is said

    def show_error(self, message: str) -> None:
        """Show what is wrong, and go to the field that the message begins with."""
        self._say(message, wrong=True)
        option = message.split(":", 1)[0].split(" ")[-1]
        for name, entry in self._entries.items():
            entry.set_class(name == option, "-wrong")
            if name == option:
                self._reveal(name)
                entry.focus()

    def clear_error(self) -> None:
        self._say("", wrong=False)
        for entry in self.query(".-wrong"):
            entry.remove_class("-wrong")

    def _say(self, text: str, *, wrong: bool) -> None:
        self._told_at = None
        line = self.query_one("#message", Static)
        line.set_class(wrong, "-wrong")
        line.update(text, layout=False)

    @on(Input.Changed)
    def _typing(self) -> None:
        if self.query_one("#message").has_class("-wrong"):
            self.clear_error()
        self._name_changes()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Explain the focused field in full, for where its row has no room for that."""
        if self.query_one("#message").has_class("-wrong") or self._told_at is event.widget:
            return
        if isinstance(event.widget, CollapsibleOptions):
            self._say(f"enter shows {', '.join(event.widget.names)}", wrong=False)
        for name, entry in self._entries.items():
            if entry is event.widget:
                self._say(f"{name}: {self._helps[name].render()}", wrong=False)

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
            self.show_error(str(error))
            return
        self.clear_error()
        self.post_message(self.Submitted())


def _described(name: str) -> str:
    from core.config.training import TrainConfig

    return TrainConfig.model_fields[name].description or ""
