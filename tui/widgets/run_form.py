"""The form of a new run, generated from `TrainConfig`: one row per field, with the config's groups and descriptions."""

from __future__ import annotations

import textwrap
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Button, Input, Select, Static, Switch

from core.errors import ConfigError
from tui.widgets.collapsible import CollapsibleOptions
from tui.widgets.description import DescriptionView
from tui.widgets.form_entries import group_of
from tui.widgets.form_rows import FormRows, OptionRows

if TYPE_CHECKING:
    from core.config.training import TrainConfig
    from core.runs.description import RunDescription

# Always visible: the most common options, and the root, which would be alone in its group. The rest is collapsible.
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
# Options that change neither the network, nor the data, nor time and memory.
NOT_DESCRIBED = {
    "preset",
    "label_dropout",
    "strict",
    "learning_rate",
    "warmup_steps",
    "lr_schedule",
    "weight_decay",
    "eval_every",
    "max_skipped",
    "seed",
    "log_to",
    "dataset_info",
    "name",
    "root",
}
OTHER_ROWS = 17  # of a form that fits every option: gaps between groups, margins, the button


class RunForm(Vertical):
    """A form with one entry per option of a run; posts `Submitted`.

    Errors are shown below the form; invalid input is kept.
    """

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
        .row.-unused .name { color: $foreground 40%; }
        CompactSelect SelectCurrent { background: $surface; padding: 0; border: none; }
        .help { width: 1fr; color: $text-muted; margin-left: 2; text-wrap: nowrap; text-overflow: ellipsis; }
        .row.-unused .help { color: $foreground 40%; text-style: italic; }
        .fold { height: 1; margin-left: 10; text-wrap: nowrap; text-overflow: ellipsis; }
        .fold:hover { background: $surface; }
        .fold:focus { background: $primary 45%; }
        #footer { height: 4; padding: 0 1; layers: below above; }
        #start { min-width: 18; margin-right: 2; }
        #status { height: 100%; }
        #message { min-height: 1; height: auto; max-height: 3; color: $text-muted; }
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
        #footer { height: 3; }
        #start { layer: above; position: absolute; offset: 0 2; height: 1; min-width: 16; border: none; }
        #message { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        #message.-wrong { max-height: 2; text-wrap: wrap; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    class Changed(Message):
        """Posted when an option changed, also by the app."""

    class Submitted(Message):
        """Posted when the user submits valid options; read them with `config`."""

    def __init__(self, root: Path, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._root = root
        self._rows = OptionRows(root)
        self._user_toggled = False  # whether the user expanded or collapsed anything
        self._message_entry: Widget | None = None  # the focused entry that caused the message

    def compose(self) -> ComposeResult:
        from core.config.training import option_fields

        fields = option_fields()
        with FormRows():
            for group, members in groupby(fields, lambda name: group_of(fields[name])):
                names = list(members)
                collapsible = [name for name in names if name not in FIRST]
                with Vertical(classes="part"):
                    for number, name in enumerate(name for name in names if name in FIRST):
                        yield self._rows.row(name, group if not number else "")
                    if collapsible:
                        rows = Vertical(*(self._rows.row(name) for name in collapsible), classes="rest")
                        rows.display = False
                        yield CollapsibleOptions(collapsible, rows)
                        yield rows
        with Horizontal(id="footer"):
            start = Button("Start training", id="start", variant="success")
            yield start
            with Vertical(id="status"):
                yield Static("", id="message", markup=False)
                yield DescriptionView(start)

    def on_mount(self) -> None:
        self._resolve()
        self._rows.entries["preset"].focus()

    # Values

    def values(self) -> dict[str, Any]:
        """Return the values by option; empty optional entries are None."""
        values = self._rows.read()
        if values["root"] is None:
            values["root"] = self._root
        return values

    def config(self) -> TrainConfig:
        """Return the config.

        Raises:
            ConfigError: A value is invalid; the message names the option.
        """
        from core.config.training import TrainConfig

        return TrainConfig(**self.values())

    def set_values(self, values: dict[str, Any]) -> None:
        """Set the given options; others keep their values."""
        self._rows.set_values(values)

    def load_defaults(self, defaults: dict[str, Any]) -> None:
        """Fill in the defaults of the settings file, or show what is wrong with them."""
        from core.config.training import PRESETS, TrainConfig

        try:
            config = TrainConfig(**defaults)
        except ConfigError as error:
            self.show_error(f"[training] of the settings file: {error}")
            return
        names = {*defaults, *(name for preset in PRESETS.values() for name in preset)} - {"preset", "root"}
        self.load_options(config.preset, {name: getattr(config, name) for name in sorted(names)})

    def load_options(self, preset: str, values: dict[str, Any]) -> None:
        """Set the preset and the given options, without filling in the preset's other values."""
        with self.prevent(Select.Changed):
            self.set_values({"preset": preset})
        self.set_values(values)
        self._resolve()

    @on(Select.Changed, "#field-preset")
    def _refill(self) -> None:
        """Apply the selected preset; options set only by other presets return to their defaults."""
        from core.config.training import PRESETS

        values = self._rows.preset_values()
        self.set_values({name: values[name] for preset in PRESETS.values() for name in preset})

    @on(Select.Changed)
    @on(Switch.Changed)
    def _changed(self, event: Select.Changed | Switch.Changed) -> None:
        if event.control.has_class("-wrong"):
            self.clear_error()
        self._resolve()

    def _resolve(self) -> None:
        """Disable options and choices that the other values rule out, and show what changed."""
        notes = self._rows.resolve()
        self._update_changes()
        if notes:
            self.clear_error()
            self._show_message("; ".join(notes), is_error=False)
            self._message_entry = self.screen.focused

    def _update_changes(self) -> None:
        self.post_message(self.Changed())
        changed = self._rows.changed()
        for group in self.query(CollapsibleOptions):
            group.set_changed({name: value for name, value in changed.items() if name in group.names})

    # Expanding and collapsing

    def on_resize(self, event: events.Resize) -> None:
        """Expand all groups if everything fits, unless the user has toggled a group."""
        if not self._user_toggled:
            for group in self.query(CollapsibleOptions):
                group.set_expanded(event.size.height >= len(self._rows.entries) + OTHER_ROWS)

    @on(CollapsibleOptions.Toggled)
    def _group_toggled(self) -> None:
        self._user_toggled = True

    def toggle_all(self) -> None:
        """Expand all groups, or collapse them if all are expanded."""
        self._user_toggled = True
        groups = list(self.query(CollapsibleOptions))
        expanded = not all(group.expanded for group in groups)
        for group in groups:
            group.set_expanded(expanded)

    def _reveal(self, name: str) -> None:
        for group in self.query(CollapsibleOptions):
            if name in group.names:
                group.set_expanded(True)

    # Messages

    def show_error(self, message: str) -> None:
        """Show an error and focus the field that the message names first."""
        self._show_message(message, is_error=True)
        option = message.split(":", 1)[0].split(" ")[-1]
        for name, entry in self._rows.entries.items():
            entry.set_class(name == option, "-wrong")
            if name == option:
                self._reveal(name)
                entry.focus()

    def clear_error(self) -> None:
        """Remove the message and the marks of invalid entries."""
        self._show_message("", is_error=False)
        for entry in self.query(".-wrong"):
            entry.remove_class("-wrong")

    def _show_message(self, text: str, *, is_error: bool) -> None:
        self._message_entry = None
        line = self.query_one("#message", Static)
        line.set_class(is_error, "-wrong")
        # A layout of the whole form takes much longer than this line.
        rows = len(textwrap.wrap(text, line.size.width or 1)) or 1
        highest = line.styles.max_height
        line.update(text, layout=min(rows, int(highest.value) if highest else rows) != line.size.height)

    # Description

    def options(self) -> dict[str, Any]:
        """Return the options that the description depends on, as in JSON.

        Raises:
            ConfigError: As for `config`.
        """
        return self.config().model_dump(mode="json", exclude=NOT_DESCRIBED)

    def describe(self, shown: RunDescription | str, *, is_error: bool = False) -> None:
        """Show the description of the run, or a text in its place."""
        self.query_one(DescriptionView).show(shown, is_error=is_error)

    @on(Input.Changed)
    def _input_changed(self, event: Input.Changed) -> None:
        if self.query_one("#message").has_class("-wrong"):
            self.clear_error()
        if event.input is self._rows.entries["dataset"]:
            self._resolve()
        self._update_changes()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Show the full help text of the focused entry, which may not fit in its row."""
        if self.query_one("#message").has_class("-wrong") or self._message_entry is event.widget:
            return
        if isinstance(event.widget, CollapsibleOptions):
            self._show_message(f"enter shows {', '.join(event.widget.names)}", is_error=False)
        for name, entry in self._rows.entries.items():
            if entry is event.widget:
                self._show_message(f"{name}: {self._rows.helps[name].render()}", is_error=False)

    @on(Input.Submitted)
    @on(Button.Pressed, "#start")
    def _submit(self, event: Message) -> None:
        event.stop()
        self.submit()

    def submit(self) -> None:
        """Post `Submitted`, or show an error if a value is invalid."""
        try:
            self.config()
        except ConfigError as error:
            self.show_error(str(error))
            return
        self.clear_error()
        self.post_message(self.Submitted())
