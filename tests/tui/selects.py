"""Reads the state of selects."""

from __future__ import annotations

from textual.widgets import OptionList

from tui.widgets.compact_select import CompactSelect


def disabled_options(select: CompactSelect) -> list[str]:
    options = select.query_one(OptionList)
    return [value for index, value in enumerate(select.values) if options.get_option_at_index(index).disabled]
