"""A playback timeline over the steps of a trajectory."""

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

PLAY_SECONDS = 4.0  # duration of a whole trajectory, within the limits below
FASTEST, SLOWEST = 0.08, 0.4  # seconds per step
LOOP_PAUSE = 1.6  # seconds on the last step before a loop restarts
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TICKS = 60  # timer ticks per second while playing


class Timeline(Widget):
    """Displays and controls the position within a trajectory; posts `Moved`.

    Playback waits at the newest available step for the next one, and pauses on the last. It skips steps that `pacer`
    cannot draw in time.

    Attributes:
        position: Current step, from 0 to `steps`.
        playing: Whether playback is running.
        looping: Whether playback restarts after the last step.
        speed: Playback speed, one of `SPEEDS`.
        steps: Number of steps of the whole trajectory.
    """

    @dataclass
    class Moved(Message):
        """Posted when the position changed, or the current step became available."""

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
        self,
        pacer: FramePacer | None = None,
        *,
        still: bool = False,
        unit: str = "step",
        quantity: str = "noise",
        fastest: float = FASTEST,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._unit = unit  # label of the position
        self._fastest = fastest  # seconds per step at speed 1, at least
        self._quantity = quantity  # label of the noise levels; empty to hide them
        self._pacer = pacer or FramePacer()
        self.still = still  # no automatic playback: new steps are shown at once
        self.steps = 0
        self._noise_levels: list[float] = []  # one per available step
        self._clock: Timer | None = None
        self._due = 0.0  # playback position in fractional steps
        self._last_tick = 0.0  # monotonic time
        self._paused_at_end = 0.0  # seconds
        self._bar = (0, 0)  # first column and length of the bar

    @property
    def newest(self) -> int:
        """The newest available step."""
        return max(0, len(self._noise_levels) - 1)

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step during playback."""
        return min(SLOWEST, max(self._fastest, PLAY_SECONDS / max(1, self.steps))) / self.speed

    def load(self, steps: int, noise_levels: list[float] | None = None) -> None:
        """Load a trajectory and play it from the start; `noise_levels` are those of the available steps."""
        self.steps = steps
        self._noise_levels = list(noise_levels or [])
        self._paused_at_end = 0.0
        self._jump(self.newest if self.still else 0, always=True)
        if self.still:
            self.pause()
        else:
            self.play()

    def replace_steps(self, steps: int, noise_levels: list[float]) -> None:
        """Replace the trajectory with a complete one; keeps the relative position and whether it plays."""
        fraction = self.position / self.steps if self.steps else 0.0
        self.steps, self._noise_levels = steps, list(noise_levels)
        self._jump(round(fraction * steps), always=True)
        self.refresh()

    def add_step(self, t: float) -> None:
        """Add an available step with noise level `t`."""
        self._noise_levels.append(t)
        if self.still and not self.playing and self.position == self.newest - 1:
            self._jump(self.newest)
        if self.newest == self.position:
            self.post_message(self.Moved(self.position))
        self.refresh()

    def play(self) -> None:
        """Play from the current step, or from the start if on the last."""
        if not self._noise_levels and not self.steps:
            return
        if self.steps and self.position >= self.steps:
            self._jump(0)
        self.playing = True
        self._last_tick = time.monotonic()
        if self._clock is None:
            self._clock = self.set_interval(1 / TICKS, self._tick)

    def pause(self) -> None:
        """Pause playback."""
        self.playing = False
        if self._clock is not None:
            self._clock.stop()
            self._clock = None

    def toggle(self) -> None:
        """Play or pause."""
        if self.playing:
            self.pause()
        else:
            self.play()

    def seek(self, position: int) -> None:
        """Pause at a step, or at the nearest available one."""
        self.pause()
        self._jump(min(self.newest, max(0, position)))

    def change_speed(self, by: int) -> None:
        """Move `by` places through `SPEEDS`."""
        self.speed = SPEEDS[min(len(SPEEDS) - 1, max(0, SPEEDS.index(self.speed) + by))]

    def _tick(self) -> None:
        now = time.monotonic()
        elapsed, self._last_tick = now - self._last_tick, now
        if not self.screen.is_current:
            return  # not visible
        self._due = min(self._due + elapsed / self.seconds_per_step, float(self.newest))
        if self.position < self.newest:
            if int(self._due) > self.position and self._pacer.can_draw(now):
                self._move(int(self._due))
        elif self.position >= self.steps:
            if not self.looping:
                self.pause()
                return
            self._paused_at_end += elapsed
            if self._paused_at_end >= LOOP_PAUSE:
                self._jump(0)

    def _jump(self, position: int, *, always: bool = False) -> None:
        self._due, self._paused_at_end = float(position), 0.0
        if position != self.position or always:
            self._move(position)

    def _move(self, position: int) -> None:
        self.position = position
        self._pacer.frame_drawn(time.monotonic())
        self.post_message(self.Moved(position))

    def render(self) -> Content:
        """Render the play state, the bar, the step and the noise level."""
        width = self.content_size.width
        symbol = "▶" if self.playing else "‖" if self.position < self.steps else "■"
        if not self.steps:
            return Content.styled(f"no {self._unit}s yet", "$foreground 40%")
        digits = len(str(self.steps))
        t = f"{self._noise_levels[self.position]:.2f}" if self.position < len(self._noise_levels) else "…"
        muted = "$foreground 50%"
        label = [(f"{self._unit} ", muted), (f"{self.position:>{digits}}", "bold"), (f"/{self.steps}", muted)]
        if self._quantity:
            label += [(f"   {self._quantity} ", muted), (t, "bold")]
        if self.speed != 1:
            label.append((f"   {self.speed:g}x", "$accent"))
        label.append(("   loop", "$accent" if self.looping else "$foreground 25%"))
        text = Content.assemble(*label)
        length = width - text.cell_length - 5
        if length < 8:
            self._bar = (0, 0)
            return Content.assemble((symbol, "$accent"), " ", text)
        self._bar = (3, length)
        last = length - 1
        cursor = round(self.position / self.steps * last)
        available = max(cursor, round(self.newest / self.steps * last))
        bar = [("━" * cursor, "$primary"), ("●", "bold $primary"), ("━" * (available - cursor), "$foreground 30%")]
        bar += [("╌" * (last - available), "$foreground 20%")]
        return Content.assemble((symbol, "bold $accent"), "  ", *bar, "  ", text)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Scrub on the bar, toggle playback on the symbol, toggle looping on `loop`."""
        if event.get_content_offset(self) is None:
            return
        if event.x - self.gutter.left < self._bar[0]:
            self.toggle()
        elif self._bar_column(event.x) is not None:
            self.capture_mouse()
            self._scrub(event.x)
        elif event.x >= self.size.width - len(" loop "):
            self.looping = not self.looping

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._scrub(event.x)

    def on_mouse_up(self) -> None:
        self.release_mouse()

    def on_mouse_scroll_down(self) -> None:
        self.seek(self.position + 1)

    def on_mouse_scroll_up(self) -> None:
        self.seek(self.position - 1)

    def _bar_column(self, x: int) -> int | None:
        column = x - self.gutter.left - self._bar[0]
        return column if 0 <= column < self._bar[1] else None

    def _scrub(self, x: int) -> None:
        start, length = self._bar
        if length > 1:
            fraction = (x - self.gutter.left - start) / (length - 1)
            self.seek(round(fraction * self.steps))
