"""The timeline of a denoising: plays, pauses, steps and scrubs over its steps, and says where it stands."""

from __future__ import annotations

import time
from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.timer import Timer
from textual.widget import Widget

from tui.terminal.frame_pacing import FramePacer

SECONDS_A_PLAY = 4.0  # that a whole denoising takes when its steps allow
FASTEST, SLOWEST = 0.08, 0.4  # seconds a step
REST = 1.6  # seconds on the last step before a loop begins again
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TICKS = 60  # looks a second at whether the next step is due


class Timeline(Widget):
    """Holds the position among the steps there are so far; posts `Moved` at each change of it.

    Playing waits at the newest step until a further one comes, and rests on the last. Steps are left out where `link`
    cannot take them as fast as they are due.
    """

    @dataclass
    class Moved(Message):
        """The position is now `position`."""

        position: int

    DEFAULT_CSS = """
    Timeline {
        height: 1; text-wrap: nowrap; text-overflow: ellipsis;
        width: 1fr; padding: 0 1; color: $foreground 75%;
    }
    """
    position = reactive(0)
    playing = reactive(False)
    looping = reactive(False)
    speed = reactive(1.0)

    def __init__(
        self, pacer: FramePacer | None = None, *, still: bool = False, tells: str = "noise", id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._tells = tells  # what the amounts are of; empty where there are none worth telling
        self._pacer = pacer or FramePacer()
        self._still = still  # nothing plays by itself: what is new is shown at its end
        self.steps = 0
        self._noise_levels: list[float] = []  # one a step that is there
        self._clock: Timer | None = None
        self._due = 0.0  # steps and parts of a step that playing has come to
        self._looked = 0.0  # when that was
        self._rested = 0.0
        self._bar = (0, 0)  # first column and length of the bar, for the mouse

    @property
    def newest(self) -> int:
        """The last step there is so far."""
        return max(0, len(self._noise_levels) - 1)

    @property
    def pace(self) -> float:
        """Seconds a step while playing."""
        return min(SLOWEST, max(FASTEST, SECONDS_A_PLAY / max(1, self.steps))) / self.speed

    def load(self, steps: int, noise_levels: list[float] | None = None) -> None:
        """Begin a denoising of `steps` steps at its start, playing; `amounts` are the noise of the steps there are."""
        self.steps = steps
        self._noise_levels = list(noise_levels or [])
        self._rested = 0.0
        self._go(self.newest if self._still else 0, always=True)
        if self._still:
            self.pause()
        else:
            self.play()

    def stretch(self, steps: int, noise_levels: list[float]) -> None:
        """Other steps, all of them there, at the same part of the way, playing or not as before."""
        share = self.position / self.steps if self.steps else 0.0
        self.steps, self._noise_levels = steps, list(noise_levels)
        self._go(round(share * steps), always=True)
        self.refresh()

    def add(self, t: float) -> None:
        """A further step is there."""
        self._noise_levels.append(t)
        if self._still and not self.playing and self.position == self.newest - 1:
            self._go(self.newest)
        if self.newest == self.position:
            self.post_message(self.Moved(self.position))
        self.refresh()

    def play(self) -> None:
        """Play from here, or from the start when on the last step."""
        if not self._noise_levels and not self.steps:
            return
        if self.steps and self.position >= self.steps:
            self._go(0)
        self.playing = True
        self._looked = time.monotonic()
        if self._clock is None:
            self._clock = self.set_interval(1 / TICKS, self._tick)

    def pause(self) -> None:
        """Stay here."""
        self.playing = False
        if self._clock is not None:
            self._clock.stop()
            self._clock = None

    def toggle(self) -> None:
        """Play, or pause."""
        if self.playing:
            self.pause()
        else:
            self.play()

    def seek(self, position: int) -> None:
        """Pause at a step, the nearest there is."""
        self.pause()
        self._go(min(self.newest, max(0, position)))

    def faster(self, by: int) -> None:
        """Play at the next speed up, or down where `by` is negative."""
        self.speed = SPEEDS[min(len(SPEEDS) - 1, max(0, SPEEDS.index(self.speed) + by))]

    def _tick(self) -> None:
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        if not self.screen.is_current:
            return  # nobody sees it
        self._due = min(self._due + passed / self.pace, float(self.newest))
        if self.position < self.newest:
            if int(self._due) > self.position and self._pacer.can_draw(now):
                self._move(int(self._due))
        elif self.position >= self.steps:
            if not self.looping:
                self.pause()
                return
            self._rested += passed
            if self._rested >= REST:
                self._go(0)

    def _go(self, position: int, *, always: bool = False) -> None:
        self._due, self._rested = float(position), 0.0
        if position != self.position or always:
            self._move(position)

    def _move(self, position: int) -> None:
        self.position = position
        self._pacer.frame_drawn(time.monotonic())
        self.post_message(self.Moved(position))

    def render(self) -> Content:
        """Play or pause, the bar, the step and the noise left."""
        width = self.content_size.width
        sign = "▶" if self.playing else "‖" if self.position < self.steps else "■"
        if not self.steps:
            return Content.styled("no steps yet", "$foreground 40%")
        digits = len(str(self.steps))
        t = f"{self._noise_levels[self.position]:.2f}" if self.position < len(self._noise_levels) else "…"
        quiet = "$foreground 50%"
        label = [("step ", quiet), (f"{self.position:>{digits}}", "bold"), (f"/{self.steps}", quiet)]
        if self._tells:
            label += [(f"   {self._tells} ", quiet), (t, "bold")]
        if self.speed != 1:
            label.append((f"   {self.speed:g}x", "$accent"))
        label.append(("   loop", "$accent" if self.looping else "$foreground 25%"))
        text = Content.assemble(*label)
        length = width - text.cell_length - 5
        if length < 8:
            self._bar = (0, 0)
            return Content.assemble((sign, "$accent"), " ", text)
        self._bar = (3, length)
        last = length - 1
        at = round(self.position / self.steps * last)
        there = max(at, round(self.newest / self.steps * last))
        bar = [("━" * at, "$primary"), ("●", "bold $primary"), ("━" * (there - at), "$foreground 30%")]
        bar += [("╌" * (last - there), "$foreground 20%")]
        return Content.assemble((sign, "bold $accent"), "  ", *bar, "  ", text)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Scrub from here, or play and pause when the sign is hit."""
        if event.get_content_offset(self) is None:
            return
        if event.x - self.gutter.left < self._bar[0]:
            self.toggle()
        elif self._over(event.x) is not None:
            self.capture_mouse()
            self._scrub(event.x)
        elif event.x >= self.size.width - len(" loop "):
            self.looping = not self.looping

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Scrub while the button is held."""
        if self.app.mouse_captured is self:
            self._scrub(event.x)

    def on_mouse_up(self) -> None:
        """Let go."""
        self.release_mouse()

    def on_mouse_scroll_down(self) -> None:
        """A step on."""
        self.seek(self.position + 1)

    def on_mouse_scroll_up(self) -> None:
        """A step back."""
        self.seek(self.position - 1)

    def _over(self, x: int) -> int | None:
        column = x - self.gutter.left - self._bar[0]
        return column if 0 <= column < self._bar[1] else None

    def _scrub(self, x: int) -> None:
        start, length = self._bar
        if length > 1:
            share = (x - self.gutter.left - start) / (length - 1)
            self.seek(round(share * self.steps))
