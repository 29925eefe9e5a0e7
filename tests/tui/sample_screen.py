"""What tests of the Sample screen share: its parts, and sampling from a small model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input, Static
from waiting import until

from tui.app import MinidiffApp
from tui.screens.sample import SampleScreen
from tui.widgets.compact_select import CompactSelect
from tui.widgets.timeline import Timeline

if TYPE_CHECKING:
    from textual.pilot import Pilot


def screen_of(app: MinidiffApp) -> SampleScreen:
    assert isinstance(app.screen, SampleScreen)
    return app.screen


def text_of(app: MinidiffApp, selector: str) -> str:
    return str(app.screen_stack[0].query_one(selector, Static).render())


def notifications(app: MinidiffApp) -> list[str]:
    return [notification.message for notification in app._notifications]


def is_live(app: MinidiffApp) -> bool:
    return "live" in text_of(app, "#predicted-caption")


async def sample_tiny(
    app: MinidiffApp, pilot: Pilot[None], steps: int = 6, digits: int = 2, model: str = "tiny"
) -> Timeline:
    """Sample from a run and wait until the trajectory is complete."""
    screen = screen_of(app)
    screen.query_one("#steps", Input).value = str(steps)
    screen.query_one("#images", Input).value = str(digits)
    await screen.choose_model(model)
    timeline = screen.timeline
    await until(pilot, lambda: is_shown(screen, model, steps), "the trajectory is complete")
    return timeline


def is_shown(screen: SampleScreen, model: str, steps: int) -> bool:
    shown = screen.denoising
    return shown is not None and shown.complete and (shown.model, shown.steps) == (model, steps)


def choice(app: MinidiffApp, name: str) -> CompactSelect:
    return app.screen_stack[0].query_one(f"#{name}", CompactSelect)


def typed(app: MinidiffApp, name: str) -> Input:
    return app.screen_stack[0].query_one(f"#{name}", Input)
