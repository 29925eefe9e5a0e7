"""What the screens with a timeline have in common: the keys that play, step and jump."""

from __future__ import annotations

from textual.screen import Screen

from tui.widgets.timeline import Timeline


class Playback(Screen[None]):
    """A screen with one timeline."""

    @property
    def timeline(self) -> Timeline:
        """The timeline of what is shown."""
        return self.query_one(Timeline)

    def action_play(self) -> None:
        """Play or pause."""
        self.timeline.toggle()

    def action_step(self, steps: int) -> None:
        """Pause, a step further on or back."""
        self.timeline.seek(self.timeline.position + steps)

    def action_seek(self, position: int) -> None:
        """Pause at a step; -1 is the newest."""
        self.timeline.seek(self.timeline.newest if position < 0 else position)

    def action_loop(self) -> None:
        """Begin again after the last step, or rest there."""
        self.timeline.looping = not self.timeline.looping

    def action_faster(self, by: int) -> None:
        """Play faster, or slower where `by` is negative."""
        self.timeline.change_speed(by)

    def action_leave_field(self) -> None:
        """Give the keys back to the screen."""
        self.set_focus(None)
