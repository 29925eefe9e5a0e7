"""The hint on what looks wrong in a run's losses, in the details of a run and while it trains."""

from __future__ import annotations

from pathlib import Path

from runlogs import started, training, window, write_run
from textual.app import App, ComposeResult

from core.runs.findings import log_hint
from core.runs.history import RunHistory
from core.runs.status import Status, summarize
from tui.widgets.diagnosis_hint import DiagnosisHint
from tui.widgets.run_details import RunDetails
from tui.widgets.run_monitor import RunMonitor


def history(*, diverged: bool) -> RunHistory:
    events = training(6)
    if diverged:
        events += [window(2_820 + 12 * index, 0.9, events[-1].time + index) for index in range(120)]
    read = RunHistory()
    read.extend(events)
    return read


class Details(App[None]):
    def compose(self) -> ComposeResult:
        yield RunDetails()
        yield RunMonitor()

    @property
    def hints(self) -> list[str]:
        return [str(hint.content) if hint.display else "" for hint in self.query(DiagnosisHint)]


async def test_a_diverged_run_names_the_command_and_a_usual_run_has_no_hint(tmp_path: Path) -> None:
    run = summarize(write_run(tmp_path, "quick 1", [started(0.0)]))
    async with Details().run_test(size=(80, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, Details)
        details, monitor = app.query_one(RunDetails), app.query_one(RunMonitor)
        details.set_run(run)
        monitor.update_run(run.name, history(diverged=True), Status.RUNNING, None, None)
        for diverged in (True, False):
            details.set_history(history(diverged=diverged))
            monitor.update_curves(history(diverged=diverged), Status.RUNNING)
            await pilot.pause()
            finding = log_hint(history(diverged=diverged))
            expected = f"minidiff diagnose 'quick 1': {finding.evidence}" if finding else ""
            assert app.hints == [expected, expected]
            assert bool(finding) is diverged


async def test_a_flat_loss_gives_no_hint_in_a_run_that_starts_from_trained_weights(tmp_path: Path) -> None:
    flat = RunHistory()
    flat.extend([started(0.0), *(window(12 * index, 0.15, 1.0 + index) for index in range(1, 60))])
    async with Details().run_test(size=(80, 24)) as pilot:
        app = pilot.app
        assert isinstance(app, Details)
        for options, shown in (({}, True), ({"init_from": "other"}, False)):
            run = summarize(write_run(tmp_path, f"run-{shown}", [started(0.0)], **options))
            app.query_one(RunDetails).set_run(run)
            app.query_one(RunDetails).set_history(flat)
            await pilot.pause()
            assert bool(app.hints[0]) is shown
