"""All commands of `minidiff`."""

from __future__ import annotations

from core.cli import machine_commands, model_commands, race_command, run_commands  # noqa: F401 - each registers its commands
from core.cli.app import app as app
