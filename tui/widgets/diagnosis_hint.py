"""One line on what looks wrong in the losses of a run, with the command that finds the cause."""

from __future__ import annotations

import shlex

from textual.content import Content
from textual.widgets import Static

from core.runs.findings import log_hint
from core.runs.history import RunHistory
from tui.widgets.text_line import update_text


class DiagnosisHint(Static):
    """Displays the first finding in a run's log; hidden without one."""

    DEFAULT_CSS = """
    DiagnosisHint {
        height: 1;
        width: 1fr;
        display: none;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        color: $text-warning;
    }
    DiagnosisHint.-found { display: block; }
    DiagnosisHint:ansi { color: $warning; }
    """

    def update_hint(self, name: str, history: RunHistory, *, fine_tuned: bool) -> None:
        """Check the history of the run `name`, which started from trained weights if `fine_tuned`."""
        finding = log_hint(history, fine_tuned=fine_tuned)
        self.set_class(finding is not None, "-found")
        if finding is not None:
            command = f"minidiff diagnose {shlex.quote(name)}"
            update_text(self, Content.assemble((command, "bold"), f": {finding.evidence}"), layout=False)
