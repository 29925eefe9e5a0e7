"""Widgets, one a module; `tui.screens` puts them together."""
