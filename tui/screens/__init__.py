"""Screens, one a module, and dialogs."""
