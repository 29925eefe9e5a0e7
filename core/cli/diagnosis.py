"""Output of `minidiff diagnose`: a block for each finding, and lines of what passed and what was not checked."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from core.cli.evaluation import progress_display
from core.evaluation.reference import EvaluationProgress
from core.runs.events import Event
from core.runs.findings import CheckResult, Finding

INDENT = "  "
MIN_WIDTH, MAX_WIDTH = 40, 100  # of the output, in columns
STYLES = {"error": "bold red", "warning": "bold yellow"}
MAX_REASON = 70  # characters of why a check was not done

Line = tuple[str, str]  # text and style


def follow(steps: Iterable[EvaluationProgress | Event | CheckResult], *, quiet: bool = False) -> list[CheckResult]:
    """Run a diagnosis to its end, showing progress unless `quiet`, and return the results of its checks."""
    if quiet:
        return [step for step in steps if isinstance(step, CheckResult)]
    results = []
    with progress_display("loading") as add:
        for step in steps:
            if isinstance(step, CheckResult):
                results.append(step)
            else:
                add(step)
    return results


def findings_of(results: Sequence[CheckResult]) -> list[Finding]:
    """All findings, errors first."""
    found = [finding for result in results for finding in result.findings]
    return sorted(found, key=lambda finding: finding.severity != "error")


def show(name: str, results: Sequence[CheckResult], seconds: float) -> None:
    """Print the results: with colors on a terminal, as plain text elsewhere."""
    width = max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size((80, 24)).columns))
    lines = report(name, results, seconds, width)
    if not sys.stdout.isatty():
        print("\n".join(text for text, _ in lines))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for text, style in lines:
        console.print(Text(text, style=style), soft_wrap=True)


def report(name: str, results: Sequence[CheckResult], seconds: float, width: int) -> list[Line]:
    """The lines of the output, at most `width` columns, with their styles."""
    found = findings_of(results)
    lines: list[Line] = []
    for finding in found:
        lines += [(f"{finding.severity}: {finding.check}", STYLES[finding.severity])]
        for label, text in (("found", finding.evidence), ("cause", finding.cause), ("change", finding.advice)):
            lines += [(line, "") for line in _wrapped(f"{label:<8}", text, width)]
        lines.append(("", ""))
    passed = [result.check for result in results if result.passed]
    if passed:
        lines += [(line, "") for line in _wrapped(f"passed ({len(passed)}): ", ", ".join(passed), width, indent="")]
    for reason, checks in _skipped(results).items():
        text = f"{', '.join(checks)}: {reason}"
        lines += [(line, "dim") for line in _wrapped("not checked: ", text, width, indent="")]
    count = "no findings" if not found else "1 finding" if len(found) == 1 else f"{len(found)} findings"
    return [*lines, (f"{name}: {count} in {seconds:.1f} s", "bold")]


def as_record(name: str, results: Sequence[CheckResult], seconds: float) -> dict[str, Any]:
    """The results for `--json`."""
    return {
        "name": name,
        "seconds": round(seconds, 3),
        "findings": [asdict(finding) for finding in findings_of(results)],
        "passed": [result.check for result in results if result.passed],
        "skipped": {result.check: result.skipped for result in results if result.skipped},
    }


def _wrapped(label: str, text: str, width: int, indent: str = INDENT) -> list[str]:
    first = indent + label
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)


def _skipped(results: Sequence[CheckResult]) -> dict[str, list[str]]:
    """The checks that were not done, by reason."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.skipped:
            reasons.setdefault(textwrap.shorten(result.skipped, MAX_REASON, placeholder="…"), []).append(result.check)
    return reasons
