"""A one-line select whose options can be disabled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from rich.text import Text
from textual.widgets import OptionList, Select


class CompactSelect(Select[str]):
    """A compact `Select` of strings without a blank option; posts `Select.Changed`.

    Args:
        values: The options, or the options and what is shown for each.
        value: The initial value.
        id: The id of the widget.
        empty: Label of the empty string, if it is an option.
        disabled: Whether the widget is disabled.
    """

    DEFAULT_CSS = """
    CompactSelect > SelectOverlay { width: auto; min-width: 100%; max-width: 44; }
    CompactSelect > SelectOverlay, CompactSelect SelectCurrent #label { text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(
        self,
        values: Iterable[str] | Mapping[str, str],
        value: str,
        *,
        id: str,
        empty: str = "",
        disabled: bool = False,
    ) -> None:
        self._empty = empty
        options = self._options_of(values)
        super().__init__(options, value=value, allow_blank=False, compact=True, id=id, disabled=disabled)

    def _options_of(self, values: Iterable[str] | Mapping[str, str]) -> list[tuple[Text, str]]:
        labels = values if isinstance(values, Mapping) else {value: value or self._empty for value in values}
        self._values = list(labels)
        return [(Text(label), value) for value, label in labels.items()]

    @property
    def chosen(self) -> str:
        """The selected value."""
        return str(self.value)

    @property
    def values(self) -> list[str]:
        """All options, including disabled ones."""
        return list(self._values)

    def set_values(self, values: Iterable[str] | Mapping[str, str], value: str) -> None:
        """Replace the options and select `value`, without posting `Select.Changed`."""
        with self.prevent(Select.Changed):
            self.set_options(self._options_of(values))
            self.value = value

    def disable_options(self, values: Collection[str]) -> None:
        """Disable `values` and enable all others."""
        overlay = self.query_one(OptionList)
        for index, value in enumerate(self.values):
            if value in values:
                overlay.disable_option_at_index(index)
            else:
                overlay.enable_option_at_index(index)
