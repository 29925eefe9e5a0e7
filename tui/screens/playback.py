"""Base class of the screens with a timeline: actions that play, step and seek."""

from __future__ import annotations

from textual.screen import Screen

from tui.widgets.timeline import Timeline


class Playback(Screen[None]):
    """A screen with one timeline."""

    @property
    def timeline(self) -> Timeline:
        """The timeline of this screen."""
        return self.query_one(Timeline)

    def action_play(self) -> None:
        """Play or pause."""
        self.timeline.toggle()

    def action_step(self, steps: int) -> None:
        """Pause, and move by `steps`; negative: backward."""
        self.timeline.seek(self.timeline.position + steps)

    def action_seek(self, position: int) -> None:
        """Pause, and move to a step; -1: the last one available."""
        self.timeline.seek(self.timeline.newest if position < 0 else position)

    def action_loop(self) -> None:
        """Toggle whether playback restarts after the last step."""
        self.timeline.looping = not self.timeline.looping

    def action_faster(self, by: int) -> None:
        """Change the playback speed by `by` levels; negative: slower."""
        self.timeline.change_speed(by)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable leaving a field only if one has the focus."""
        return self.focused is not None if action == "leave_field" else super().check_action(action, parameters)

    def action_leave_field(self) -> None:
        """Remove the focus from the field."""
        self.set_focus(None)
