"""A select in one line, some of whose options can be greyed out."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from textual.widgets import OptionList, Select


class CompactSelect(Select[str]):
    """One of some values, of which one is always chosen; `empty` is the name of the empty one."""

    def __init__(self, values: Iterable[str], value: str, *, id: str, empty: str = "", disabled: bool = False) -> None:
        options = [(value or empty, value) for value in values]
        super().__init__(options, value=value, allow_blank=False, compact=True, id=id, disabled=disabled)

    @property
    def chosen(self) -> str:
        """The value chosen."""
        return str(self.value)

    @property
    def values(self) -> list[str]:
        """What there is to choose from, greyed out or not."""
        return [str(value) for _, value in self._options]

    def offer(self, values: Iterable[str], value: str) -> None:
        """Other values, of which `value` is chosen; nobody is told."""
        with self.prevent(Select.Changed):
            self.set_options((value, value) for value in values)
            self.value = value

    def grey(self, values: Collection[str]) -> None:
        """Let `values` not be chosen, and all others be."""
        overlay = self.query_one(OptionList)
        for index, value in enumerate(self.values):
            if value in values:
                overlay.disable_option_at_index(index)
            else:
                overlay.enable_option_at_index(index)

    @property
    def greyed(self) -> list[str]:
        """The values that cannot be chosen."""
        overlay = self.query_one(OptionList)
        return [value for index, value in enumerate(self.values) if overlay.get_option_at_index(index).disabled]
