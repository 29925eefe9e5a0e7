"""Every key and what it does: the one table that screens, footer, help, palette and the user's keymap read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

from core.errors import ConfigError, hint

BENCH = Binding.Group("Bench", compact=True)
STEP = Binding.Group("Step", compact=True)  # one entry of the footer for both arrows


@dataclass(frozen=True)
class Action:
    """Something that a person can do; `id` names it in a keymap, and may stand for both sides of one switch."""

    id: str
    keys: str  # comma-separated, by Textual's names
    does: str  # Textual's action
    label: str
    help: str = ""
    footer: bool = True
    shown: str | None = None  # how the key is drawn
    group: Binding.Group | None = None

    @property
    def place(self) -> str:
        """Where it works: `app` is everywhere."""
        return self.id.partition(".")[0]


UNFOLD = "Show every option of the form, or fold away what few change"
PAUSE = "Let the trainer wait, with its state on disk"
CONTINUE = "Let the paused trainer go on"
STOP = "End training; it can be resumed where it stopped"
RESUME = "Go on from the last checkpoint"
SAMPLE_RUN = "Sample from this run's model"

ACTIONS = (
    Action("app.sample", "1", "show('sample')", "Sample", "Go to the Sample screen", footer=False),
    Action("app.train", "2", "show('train')", "Train", "Go to the Train screen", footer=False),
    Action("app.runs", "3", "show('runs')", "Runs", "Go to the Runs screen", footer=False),
    Action("app.devices", "4", "show('devices')", "Devices", "Go to the Devices screen", footer=False),
    Action(
        "app.lab", "5", "show('lab')", "Lab", "Go to the Lab: convolution, noise and nets taken apart", footer=False
    ),
    Action("app.drawing", "b", "drawing", "Drawing", "Draw digits in another way", footer=False),
    Action("app.theme", "ctrl+t", "change_theme", "Theme", "Change the colours", footer=False),
    Action("app.help", "question_mark", "help", "Help", "The keys of this screen", shown="?"),
    Action("app.quit", "q,ctrl+q", "quit", "Quit", "Leave; training goes on"),
    Action("play.toggle", "space", "play", "Play/pause"),
    Action("play.back", "left", "step(-1)", "Step back", shown="←", group=STEP),
    Action("play.forward", "right", "step(1)", "Step forward", shown="→", group=STEP),
    Action("play.first", "home", "seek(0)", "First step", footer=False),
    Action("play.last", "end", "seek(-1)", "Last step", footer=False),
    Action("play.loop", "l", "loop", "Loop"),
    Action("play.faster", "plus,equals_sign", "faster(1)", "Faster", shown="+", footer=False),
    Action("play.slower", "minus", "faster(-1)", "Slower", shown="-", footer=False),
    Action("sample.change", "d", "change", "Change", "Show what each step changes", footer=False),
    Action("sample.compare", "c", "compare", "Compare", "Two models, or two settings, from the same noise"),
    Action("compare.sample", "enter", "sample", "Sample", footer=False),
    Action("compare.seed", "n", "new_seed", "New seed"),
    Action("compare.state", "d", "state", "State/prediction", "Show the noisy states instead of the predictions"),
    Action("compare.close", "c", "close", "Close", "Back to one model"),
    Action("sample.start", "t", "start", "Start from", "Start from noise, or from a real digit", footer=False),
    Action("sample.zoom", "z", "zoom", "Zoom", "One digit, large, with the values of its pixels"),
    Action("sample.sample", "enter", "sample", "Sample", footer=False),
    Action("sample.seed", "n", "new_seed", "New seed"),
    Action("sample.export", "e", "export", "Export"),
    Action("play.leave", "escape", "leave_field", "Leave the field", footer=False),
    Action("zoom.left", "left", "point(-1, 0)", "Pixel to the left", footer=False),
    Action("zoom.right", "right", "point(1, 0)", "Pixel to the right", footer=False),
    Action("zoom.up", "up", "point(0, -1)", "Pixel above", footer=False),
    Action("zoom.down", "down", "point(0, 1)", "Pixel below", footer=False),
    Action("zoom.back", "comma", "step(-1)", "Step back", shown=",", footer=False),
    Action("zoom.forward", "full_stop", "step(1)", "Step forward", shown=".", footer=False),
    Action("zoom.next", "tab", "digit(1)", "Next digit", footer=False),
    Action("zoom.previous", "shift+tab", "digit(-1)", "Digit before", footer=False),
    Action("zoom.close", "escape,z,q", "dismiss", "Close", footer=False),
    Action("lab.next", "right_square_bracket", "bench(1)", "Next bench", shown="]", group=BENCH),
    Action("lab.previous", "left_square_bracket", "bench(-1)", "Bench before", shown="[", group=BENCH),
    Action("lab.view", "v", "view", "Next view", "Another of the pictures that do not all fit"),
    Action("lab.skips", "k", "skips", "Skips", "Skip connections on or off", footer=False),
    Action("lab.digit", "n", "another_digit", "Another digit", "A digit of the test images, at random"),
    Action("lab.draw", "d", "draw_digit", "Draw", "Draw a digit yourself, with the arrows or the mouse"),
    Action("lab.random", "r", "another_kernel", "Random kernel", "Another random kernel", footer=False),
    Action("lab.export", "e", "export", "Export", "A picture of the bench, and the lines of Python that compute it"),
    Action("pixel.left", "left", "point(-1, 0)", "Pixel to the left", footer=False),
    Action("pixel.right", "right", "point(1, 0)", "Pixel to the right", footer=False),
    Action("pixel.up", "up", "point(0, -1)", "Pixel above", footer=False),
    Action("pixel.down", "down", "point(0, 1)", "Pixel below", footer=False),
    Action("draw.left", "left", "move(-1, 0)", "Pen to the left", footer=False),
    Action("draw.right", "right", "move(1, 0)", "Pen to the right", footer=False),
    Action("draw.up", "up", "move(0, -1)", "Pen up", footer=False),
    Action("draw.down", "down", "move(0, 1)", "Pen down", footer=False),
    Action("draw.ink", "space", "ink", "Ink", "Put ink down, or lift it", footer=False),
    Action("draw.clear", "backspace", "clear", "Clear", footer=False),
    Action("draw.take", "enter", "take", "Take", "Look at what is drawn", footer=False),
    Action("draw.close", "escape", "dismiss", "Leave", footer=False),
    Action("help.close", "escape,question_mark,q", "dismiss", "Close", footer=False),
    Action("welcome.close", "enter,escape,space", "dismiss", "Begin", footer=False),
    Action("train.start", "ctrl+s", "start", "Start"),
    Action("train.unfold", "ctrl+o", "unfold", "All options", UNFOLD),
    Action("train.pause", "p", "ask('pause')", "Pause", PAUSE),
    Action("train.pause", "p", "ask('continue')", "Continue", CONTINUE),
    Action("train.stop", "x", "ask('stop')", "Stop", STOP),
    Action("train.resume", "r", "resume", "Resume", RESUME),
    Action("train.sample", "s", "sample", "Sample", SAMPLE_RUN),
    Action("train.earlier", "left_square_bracket", "preview(-1)", "Earlier samples", shown="[", footer=False),
    Action("train.later", "right_square_bracket", "preview(1)", "Later samples", shown="]", footer=False),
    Action("train.new", "n", "new", "New run", "Fill in the form of another run; this one goes on"),
    Action("train.leave", "escape", "leave", "Leave field"),
    Action("train.back", "escape", "back", "Back to the run"),
    Action(
        "plot.left", "left", "cursor(-1)", "Cursor left", "Move the cursor whose values the legend tells", footer=False
    ),
    Action(
        "plot.right",
        "right",
        "cursor(1)",
        "Cursor right",
        "Move the cursor whose values the legend tells",
        footer=False,
    ),
    Action("plot.closer", "plus,equals_sign", "zoom(1)", "Zoom in", "Look closer", shown="+", footer=False),
    Action("plot.farther", "minus", "zoom(-1)", "Zoom out", "Look from farther away", shown="-", footer=False),
    Action("plot.earlier", "comma", "pan(-1)", "Earlier", "Look further to the left", shown=",", footer=False),
    Action("plot.later", "full_stop", "pan(1)", "Later", "Look further to the right", shown=".", footer=False),
    Action("plot.all", "0", "all", "Everything", "The whole run again, without a cursor", footer=False),
    Action("plot.log", "y", "log", "Log/linear", "A logarithmic axis, or a linear one", footer=False),
    Action("plot.unit", "u", "by_step", "Epochs/steps", "Against epochs, or against steps", footer=False),
    Action("plot.smoother", "m", "smooth(1)", "Smoother", "A longer moving average", footer=False),
    Action("plot.rougher", "M", "smooth(-1)", "Rougher", "A shorter moving average", footer=False),
    Action("plot.quantity", "v", "quantity", "Next quantity", "Loss, images/s, learning rate, distance"),
    Action("table.watch", "enter", "select_cursor", "Watch", "Watch the run under the cursor"),
    Action("runs.resume", "r", "resume", "Resume", RESUME),
    Action("runs.pause", "p", "ask('pause')", "Pause", PAUSE),
    Action("runs.pause", "p", "ask('continue')", "Continue", CONTINUE),
    Action("runs.stop", "x", "ask('stop')", "Stop", STOP),
    Action("runs.sample", "s", "sample", "Sample", SAMPLE_RUN),
    Action("runs.mark", "space,m", "mark", "Mark", "Mark the run; the curves of marked runs are drawn together"),
    Action("runs.filter", "slash", "filter", "Filter", "Show only runs that hold some words", shown="/"),
    Action("runs.sort", "o", "sort", "Sort", "By time, name, status or loss", footer=False),
    Action("runs.fork", "f", "fork", "Fork", "Fill in the form with this run's options, for another run"),
    Action("runs.rename", "e", "rename", "Rename", "Give the run another name", footer=False),
    Action("runs.copy", "c", "copy('path')", "Copy path", "Copy the run's path to your clipboard", footer=False),
    Action("runs.command", "C", "copy('command')", "Copy command", "Copy the command that resumes it", footer=False),
    Action("runs.unfilter", "escape", "unfilter", "All runs", "Show all runs again", footer=False),
    Action("runs.delete", "d", "delete", "Delete", "Remove the run and all it holds, after a question"),
    Action("runs.new", "n", "new", "New run", "Fill in the form on the Train screen"),
)


def bindings(*ids: str) -> list[BindingType]:
    """The bindings of the places or single actions named `ids`."""
    chosen = [action for action in ACTIONS if action.place in ids or action.id in ids]
    return [
        Binding(
            action.keys,
            action.does,
            action.label,
            show=action.footer,
            key_display=action.shown,
            tooltip=action.help,
            group=action.group,
            id=action.id,
        )
        for action in chosen
    ]


def check_keymap(ids: Iterable[str]) -> None:
    """Refuse names that no action has.

    Raises:
        ConfigError: one of `ids` is no action; says which is meant.
    """
    known = sorted({action.id for action in ACTIONS})
    for name in ids:
        if name not in known:
            raise ConfigError(f"there is no action {name!r}; {hint(name, known)}")
