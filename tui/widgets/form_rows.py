"""The rows of the form of a new run: one for each option, with its entry, and what the other values rule out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widget import Widget
from textual.widgets import Label

from tui.widgets.compact_select import CompactSelect
from tui.widgets.form_entries import (
    UNUSED_VALUES,
    allowed_choices,
    entry_for,
    format_value,
    read,
    unused_options,
    write,
)


class FormRows(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The scrollable rows of the form; page keys scroll, arrow keys move between rows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
    ]

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Refresh all visible rows.

        If the layout changes between scrolling and drawing, and a widget's region is read meanwhile, Textual compares
        the new regions with themselves and does not redraw rows that moved.
        """
        super().watch_scroll_y(old_value, new_value)
        self.refresh()


class OptionRows:
    """Creates the rows, and reads and writes their entries.

    Args:
        root: The root directory of the runs, the default of an option.

    Attributes:
        entries: The entry of each option.
        helps: The text beside each.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.entries: dict[str, Widget] = {}
        self.helps: dict[str, Label] = {}
        self._rows: dict[str, Horizontal] = {}
        self._saved_values: dict[str, Any] = {}  # values of unused options, restored when they are used again

    def row(self, name: str, group: str = "") -> Horizontal:
        """Create the row of an option; `group` is the title of the group that it begins, if any."""
        from core.config.training import option_fields

        field = option_fields()[name]
        entry = self.entries[name] = entry_for(name, field, str(self._root))
        help_text = self.helps[name] = Label(field.description or "", classes="help", markup=False)
        title = Label(name.replace("_", " "), classes="name")
        row = self._rows[name] = Horizontal(Label(group, classes="group"), title, entry, help_text, classes="row")
        return row

    def read(self) -> dict[str, Any]:
        """The values of all options; empty optional entries are None."""
        from core.config.training import option_fields

        return {name: read(self.entries[name], field) for name, field in option_fields().items()}

    def set_values(self, values: dict[str, Any]) -> None:
        """Set the given options; others keep their values."""
        for name, value in values.items():
            if name in self._saved_values:
                self._saved_values[name] = value
            else:
                write(self.entries[name], value)

    def preset_values(self) -> dict[str, Any]:
        """The value of every option in the selected preset."""
        from core.config.training import PRESETS, option_fields

        fields = option_fields()
        preset = str(read(self.entries["preset"], fields["preset"]))
        defaults = {name: field.default for name, field in fields.items()}
        return {**defaults, **PRESETS[preset], "preset": preset}

    def changed(self) -> dict[str, str]:
        """The values, as text, of the options in use that differ from the selected preset."""
        preset, values = self.preset_values(), self.read()
        return {
            name: format_value(values[name])
            for name, entry in self.entries.items()
            if not entry.disabled and values[name] != preset[name]
        }

    def resolve(self) -> list[str]:
        """Disable options and choices that the other values rule out; returns notes on the values that changed."""
        return [*self._resolve_choices(), *self._resolve_unused()]

    def _resolve_choices(self) -> Iterator[str]:
        """Disable choices that are not allowed; yields a note for each entry that had to change."""
        values = self.read()
        for name, allowed in allowed_choices(values).items():
            entry = self.entries[name]
            assert isinstance(entry, CompactSelect)
            disallowed = [value for value in entry.values if value not in allowed]
            reason = f"path {values['path']} does not support {' or '.join(disallowed)}"
            entry.disable_options(disallowed)
            self._set_help(name, f"{_description(name)}; {reason}" if disallowed else _description(name))
            if entry.chosen in disallowed:
                entry.value = allowed[0]
                yield f"{name} is now {allowed[0]}: {reason}"

    def _resolve_unused(self) -> Iterator[str]:
        """Disable options without effect and restore the others; yields a note for each value that was dropped."""
        unused = unused_options(self.read())
        for name, entry in self.entries.items():
            if (name in unused) == entry.disabled:
                continue
            if name in unused and name in UNUSED_VALUES:
                self._saved_values[name] = value = self.read()[name]
                write(entry, UNUSED_VALUES[name])
                if value != UNUSED_VALUES[name]:
                    yield f"{name}: {unused[name]}"
            elif name in self._saved_values:
                write(entry, self._saved_values.pop(name))
            entry.disabled = name in unused
            self._rows[name].set_class(entry.disabled, "-unused")
            self._set_help(name, unused.get(name, _description(name)))

    def _set_help(self, name: str, text: str) -> None:
        self.helps[name].update(text, layout=False)


def _description(name: str) -> str:
    from core.config.training import option_fields

    return option_fields()[name].description or ""
