"""All actions and their keys: the table behind the bindings, the footer, the help, the palette and the keymap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

from core.errors import ConfigError, hint

BENCH = Binding.Group("Bench", compact=True)
CHANNEL = Binding.Group("Channel", compact=True)
PIXEL = Binding.Group("Pixel", compact=True)
PANE = Binding.Group("Pane", compact=True)
SAMPLER = Binding.Group("Sampler", compact=True)
STEP = Binding.Group("Step", compact=True)  # both arrow keys share one entry in the footer


@dataclass(frozen=True)
class Action:
    """A user action. `id` names it in the keymap; two actions that toggle one state share an id."""

    id: str
    keys: str  # comma-separated Textual key names
    action: str  # Textual action string
    label: str
    help: str = ""
    footer: bool = True
    key_display: str | None = None
    group: Binding.Group | None = None

    @property
    def scope(self) -> str:
        """The screen or widget that binds it; `app` actions work everywhere."""
        return self.id.partition(".")[0]


# A letter, or a key such as f2, means one thing on all screens: its actions start with the same word. These keys act on
# what is in front of the user instead, and an overlay closes with the key that opened it, with escape and with q.
MEANINGS = {
    "enter": "accept, or open what is highlighted",
    "escape": "leave a field, close an overlay, go back",
    "space": "switch what is highlighted on or off: playback, a mark, the pen",
    "backspace": "remove: a pane, what was drawn",
    "left": "one back: step, pixel, value, cursor",
    "right": "one forward",
    "up": "one up: pixel, row, sampler",
    "down": "one down",
    "plus": "more: speed, or magnification of the plot",
    "equals_sign": "plus without shift",
    "minus": "less; no class in the drawing dialog",
    "comma": "earlier: step of the zoomed image, part of the plot, channel",
    "full_stop": "later",
    "left_square_bracket": "the previous bench or pane, or samples of the previous epoch",
    "right_square_bracket": "the next bench or pane, or samples of the next epoch",
    **dict.fromkeys("0123456789", "the screen of this number; 0: the whole plot; in the drawing dialog: the class"),
}

UNFOLD = "Expand or collapse all groups of the form"
PAUSE = "Save a checkpoint and pause training"
CONTINUE = "Continue training"
STOP = "Save a checkpoint and stop training; the run can be resumed"
CURSOR = "Move the cursor; the legend shows its values"
RESUME = "Resume training from the last checkpoint"
DRAWING_CLASS = "Set the class of the drawing"
SAMPLE_RUN = "Generate samples with this run's model"
HISTORY = "Sample the same noise with all snapshots of this run"

ACTIONS = (
    Action("app.sample", "1", "show('sample')", "Sample", "Go to the Sample screen", footer=False),
    Action("app.train", "2", "show('train')", "Train", "Go to the Train screen", footer=False),
    Action("app.runs", "3", "show('runs')", "Runs", "Go to the Runs screen", footer=False),
    Action("app.devices", "4", "show('devices')", "Devices", "Go to the Devices screen", footer=False),
    Action("app.lab", "5", "show('lab')", "Lab", "Go to the Lab", footer=False),
    Action("app.drawing", "b", "drawing", "Drawing", "Switch how images are drawn", footer=False),
    Action("app.color_map", "B", "color_map", "Color map", "Switch the colors of gray images", footer=False),
    Action("app.theme", "ctrl+t", "change_theme", "Theme", "Change the theme", footer=False),
    Action("app.follow", "F", "follow", "Follow", "Follow the leading app again"),
    Action("app.settings", "f2", "settings", "Settings", "Change the settings", footer=False),
    Action("app.screenshot", "f12", "picture", "Screenshot", "Save this screen as SVG", footer=False),
    Action("app.help", "question_mark", "help", "Help", "Show the keys of this screen", key_display="?"),
    Action("app.quit", "q,ctrl+q", "quit", "Quit", "Quit; runs that are training continue"),
    Action("play.toggle", "space", "play", "Play/pause"),
    Action("play.back", "left", "step(-1)", "Step back", key_display="←", group=STEP),
    Action("play.forward", "right", "step(1)", "Step forward", key_display="→", group=STEP),
    Action("play.first", "home", "seek(0)", "First step", footer=False),
    Action("play.last", "end", "seek(-1)", "Last step", footer=False),
    Action("play.loop", "l", "loop", "Loop"),
    Action("play.faster", "plus,equals_sign", "faster(1)", "Faster", key_display="+", footer=False),
    Action("play.slower", "minus", "faster(-1)", "Slower", key_display="-", footer=False),
    Action("sample.change", "v", "change", "Next view", "Switch between the noisy state and the change of each step"),
    Action("sample.compare", "c", "compare", "Compare", "Compare models or settings from the same noise"),
    Action("compare.sample", "enter", "sample", "Sample", footer=False),
    Action("compare.sampler", "down", "sampler(1)", "Next sampler", key_display="↓", group=SAMPLER),
    Action("compare.sampler_back", "up", "sampler(-1)", "Previous sampler", key_display="↑", group=SAMPLER),
    Action("compare.next", "right_square_bracket", "select(1)", "Next pane", key_display="]", group=PANE),
    Action("compare.previous", "left_square_bracket", "select(-1)", "Previous pane", key_display="[", group=PANE),
    Action("compare.add", "N", "add", "New pane", "Add a pane with the options of this one"),
    Action("compare.remove", "backspace,delete", "remove", "Remove", "Remove this pane", key_display="backspace"),
    Action("compare.seed", "n", "new_seed", "New seed"),
    Action("compare.state", "v", "state", "Next view", "Switch between noisy states and predictions"),
    Action("play.leave", "escape", "leave_field", "Leave field"),
    Action("compare.close", "c,escape", "close", "Close", "Close the comparison"),
    Action("history.sample", "enter", "sample", "Sample", footer=False),
    Action("history.seed", "n", "new_seed", "New seed"),
    Action("history.export", "e", "export", "Export", "Export the samples of all snapshots as GIF or PNG"),
    Action("history.close", "H,escape", "close", "Close", "Close the training history"),
    Action("sample.zoom", "z", "zoom", "Zoom", "Zoom into one image and show its pixel values"),
    Action("sample.sample", "enter", "sample", "Sample", footer=False),
    Action("sample.seed", "n", "new_seed", "New seed"),
    Action("sample.export", "e", "export", "Export"),
    Action("sample.start", "t", "start", "Start from", "Start from a test image or an image file with added noise"),
    Action("sample.draw", "w", "draw", "Draw start", "Draw an image to start from", footer=False),
    Action("sample.nearest", "k", "nearest", "Nearest", "Show the nearest training image beside each sample"),
    Action("sample.mask", "m", "mask", "Mask", "Draw over the part of the start image that is generated"),
    Action("sample.interpolate", "i", "interpolate", "Interpolate", "Interpolate between two seeds or two images"),
    Action("field.sample", "enter", "submit", "Sample", "Generate samples with these values", key_display="enter"),
    Action("zoom.left", "left", "point(-1, 0)", "Pixel left", footer=False),
    Action("zoom.right", "right", "point(1, 0)", "Pixel right", footer=False),
    Action("zoom.up", "up", "point(0, -1)", "Pixel up", footer=False),
    Action("zoom.down", "down", "point(0, 1)", "Pixel down", footer=False),
    Action("zoom.back", "comma", "step(-1)", "Step back", key_display=",", footer=False),
    Action("zoom.forward", "full_stop", "step(1)", "Step forward", key_display=".", footer=False),
    Action("zoom.next", "tab", "image(1)", "Next image", footer=False),
    Action("zoom.previous", "shift+tab", "image(-1)", "Previous image", footer=False),
    Action("zoom.close", "escape,z,q", "dismiss", "Close", footer=False),
    Action("nearest.close", "escape,k,q", "dismiss", "Close", footer=False),
    Action("lab.next", "right_square_bracket", "bench(1)", "Next bench", key_display="]", group=BENCH),
    Action("lab.previous", "left_square_bracket", "bench(-1)", "Previous bench", key_display="[", group=BENCH),
    Action("lab.view", "v", "view", "Next view", "Show the next view, if not all fit"),
    Action("lab.skips", "j", "skips", "Skips", "Turn skip connections on or off", footer=False),
    Action("lab.previous_channel", "comma", "channel(-1)", "Previous channel", key_display=",", group=CHANNEL),
    Action("lab.next_channel", "full_stop", "channel(1)", "Next channel", key_display=".", group=CHANNEL),
    Action("lab.range", "g", "common_range", "Range", "Give all feature maps one range, or each its own"),
    Action("lab.digit", "n", "another_image", "New image", "Pick a random test image"),
    Action("lab.noise", "n", "another_noise", "New noise", "Start the particles from other noise"),
    Action("lab.network", "N", "another_network", "New network", "Train another network, from other initial weights"),
    Action(
        "lab.draw", "w", "draw_image", "Draw", "Draw a digit, or points of the plane, with the arrow keys or the mouse"
    ),
    Action("lab.random", "N", "another_kernel", "New kernel", "Use another random kernel", footer=False),
    Action("lab.export", "e", "export", "Export", "Export a PNG of the bench and the Python code that computes it"),
    Action("lab.tutorial", "T", "tutorial", "Tutorial", "Start or end the tutorial: questions on all benches"),
    Action("lab.answer", "enter", "answer", "Answer", "Show the answer, or the next question of the tutorial"),
    Action("pixel.left", "left", "point(-1, 0)", "Pixel left", key_display="←", group=PIXEL),
    Action("pixel.right", "right", "point(1, 0)", "Pixel right", key_display="→", group=PIXEL),
    Action("pixel.up", "up", "point(0, -1)", "Pixel up", key_display="↑", group=PIXEL),
    Action("pixel.down", "down", "point(0, 1)", "Pixel down", key_display="↓", group=PIXEL),
    Action("draw.left", "left", "move(-1, 0)", "Move left", footer=False),
    Action("draw.right", "right", "move(1, 0)", "Move right", footer=False),
    Action("draw.up", "up", "move(0, -1)", "Move up", footer=False),
    Action("draw.down", "down", "move(0, 1)", "Move down", footer=False),
    Action("draw.ink", "space", "ink", "Pen", "Lower or raise the pen", footer=False),
    Action("draw.clear", "backspace", "clear", "Clear", footer=False),
    *(
        Action(f"digit.{label}", str(label), f"label({label})", f"Class {label}", DRAWING_CLASS, footer=False)
        for label in range(10)
    ),
    Action("digit.none", "minus", "label(-1)", "No class", "Give the drawing no class", footer=False),
    Action("digit.read", "h", "read_class", "Read class", "Let the classifier read the class", footer=False),
    Action("draw.take", "enter", "take", "Accept", "Use this drawing", footer=False),
    Action("draw.close", "escape", "dismiss", "Cancel", footer=False),
    Action("settings.previous", "left", "change(-1)", "Previous value", key_display="←", footer=False),
    Action("settings.next", "right", "change(1)", "Next value", key_display="→", footer=False),
    Action("settings.close", "escape,f2,q", "dismiss", "Close", footer=False),
    Action("choice.close", "escape,ctrl+t,q", "cancel", "Cancel", footer=False),
    Action("help.close", "escape,question_mark,q", "dismiss", "Close", footer=False),
    Action("welcome.close", "enter,escape,space", "dismiss", "Start", footer=False),
    Action("train.start", "ctrl+s", "start", "Start"),
    Action("train.unfold", "ctrl+o", "unfold", "All options", UNFOLD),
    Action("train.pause", "p", "request('pause')", "Pause", PAUSE),
    Action("train.pause", "p", "request('continue')", "Continue", CONTINUE),
    Action("train.stop", "x", "request('stop')", "Stop", STOP),
    Action("train.resume", "r", "resume", "Resume", RESUME),
    Action("train.sample", "s", "sample", "Sample", SAMPLE_RUN),
    Action("train.history", "H", "history", "History", HISTORY),
    Action("train.earlier", "left_square_bracket", "preview(-1)", "Previous samples", key_display="[", footer=False),
    Action("train.later", "right_square_bracket", "preview(1)", "Next samples", key_display="]", footer=False),
    Action("train.new", "n", "new", "New run", "Open the form for a new run; this one continues"),
    Action("train.leave", "escape", "leave", "Leave field"),
    Action("train.back", "escape", "back", "Back to the run"),
    Action("plot.left", "left", "cursor(-1)", "Cursor left", CURSOR, footer=False),
    Action("plot.right", "right", "cursor(1)", "Cursor right", CURSOR, footer=False),
    Action("plot.closer", "plus,equals_sign", "zoom(1)", "Zoom in", key_display="+", footer=False),
    Action("plot.farther", "minus", "zoom(-1)", "Zoom out", key_display="-", footer=False),
    Action("plot.earlier", "comma", "pan(-1)", "Pan left", key_display=",", footer=False),
    Action("plot.later", "full_stop", "pan(1)", "Pan right", key_display=".", footer=False),
    Action("plot.all", "0", "all", "Reset view", "Show the whole run and hide the cursor", footer=False),
    Action("plot.log", "y", "log", "Log/linear", "Switch between a logarithmic and a linear axis", footer=False),
    Action("plot.unit", "u", "by_step", "Epochs/steps", "Plot over epochs or steps", footer=False),
    Action("plot.smoother", "a", "smooth(1)", "More smoothing", footer=False),
    Action("plot.rougher", "A", "smooth(-1)", "Less smoothing", footer=False),
    Action(
        "plot.quantity",
        "v",
        "quantity",
        "Next quantity",
        "Cycle through loss, images per second, learning rate, distance and loss by noise level",
    ),
    Action("table.watch", "enter", "select_cursor", "Watch", "Watch the highlighted run"),
    Action("runs.resume", "r", "resume", "Resume", RESUME),
    Action("runs.pause", "p", "request('pause')", "Pause", PAUSE),
    Action("runs.pause", "p", "request('continue')", "Continue", CONTINUE),
    Action("runs.stop", "x", "request('stop')", "Stop", STOP),
    Action("runs.sample", "s", "sample", "Sample", SAMPLE_RUN),
    Action("runs.history", "H", "history", "History", HISTORY),
    Action("runs.mark", "space", "mark", "Mark", "Mark the run; the curves of marked runs share one plot"),
    Action("runs.race", "c", "race", "Compare race", "Compare the runs of the race that this run belongs to"),
    Action("race.close", "escape,c,q", "dismiss", "Close", footer=False),
    Action("runs.filter", "slash", "filter", "Filter", "Show only runs that match some words", key_display="/"),
    Action("runs.sort", "o", "sort", "Sort", "Sort by start time, last update, name, status or loss", footer=False),
    Action("runs.fork", "f", "fork", "Fork", "Open the form for a new run, filled in with this run's options"),
    Action("runs.rename", "R", "rename", "Rename", "Rename the run", footer=False),
    Action("runs.copy", "P", "copy('path')", "Copy path", "Copy the path of the run to the clipboard", footer=False),
    Action(
        "runs.command",
        "C",
        "copy('command')",
        "Copy command",
        "Copy the command that resumes the run to the clipboard",
        footer=False,
    ),
    Action("runs.unfilter", "escape", "unfilter", "All runs", "Clear the filter", footer=False),
    Action("runs.delete", "d", "delete", "Delete", "Delete the run, after a confirmation"),
    Action("runs.new", "n", "new", "New run", "Open the form for a new run"),
)


def bindings(*ids: str) -> list[BindingType]:
    """Bindings for all actions in `ids`, which may hold scopes and single action ids."""
    chosen = [action for action in ACTIONS if action.scope in ids or action.id in ids]
    return [
        Binding(
            action.keys,
            action.action,
            action.label,
            show=action.footer,
            key_display=action.key_display,
            tooltip=action.help,
            group=action.group,
            id=action.id,
        )
        for action in chosen
    ]


def check_keymap(ids: Iterable[str]) -> None:
    """Check that every id in `ids` names an action.

    Raises:
        ConfigError: an id is unknown.
    """
    known = sorted({action.id for action in ACTIONS})
    for name in ids:
        if name not in known:
            raise ConfigError(f"unknown action {name!r}; {hint(name, known)}")
