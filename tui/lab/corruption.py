"""The corruption bench: one digit under more and more noise, and the way back in one step or in many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from core.config.sampling import NO_CLASS
from tui.arrays import Array, ink
from tui.lab.bench import Bench, FieldRow, LabInput, Panel, choice, entry
from tui.lab.small_plot import Curves, SmallPlot
from tui.messages import BenchShown
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.compact_select import CompactSelect
from tui.widgets.digits import DigitGrid, fit
from tui.widgets.timeline import Timeline

ITS_OWN, ANY = "its own", "any"
STEPS = (1, 100)  # of a walk, the least and the greatest
OPENS_AT = 24  # of the engine's 41 amounts: at 0.6 the digit can hardly be read
COLORS = ("plot-average", "plot-validation", "plot-run-3")
NOISE = " noise"  # what is named so is the noise's share
VIEWS = ("back", "noisy", "errors", "shares")
MEDIUM = (80, 22)  # columns and rows from which six digits and a plot are in sight at once,
WIDE = (120, 22)  # both plots,
LARGE = (120, 36)  # digits at full size,
HUGE = (176, 56)  # and the ways back at twice the size
WORDY = 24  # columns of a digit that have room for words above it,
ROOMY = 38  # and of a plot
Reading = tuple[int, int]  # a class, and how sure the classifier is, in percent


class CorruptionBench(Bench):
    """The digit along the noise on every path; what the model makes of it at once, and in a walk."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    NAME = "corruption"
    TITLE = "Corruption"
    ABOUT = (
        "One step back from much noise is a blur: the mean of all it could have been. A mean has the least squared "
        "error, but is no digit. A walk of many small steps decides on the way: a sharp digit, though perhaps another "
        "one, and then its error is the larger."
    )
    TRY = "noise 1 with class any, then a walk of 2 steps and one of 40."
    DEFAULT_CSS = """
    CorruptionBench {
        .pictures { layout: grid; grid-size: 2 2; grid-columns: 3fr 2fr; grid-rows: 1fr 1fr; grid-gutter: 0 1; }
        .pane { align-vertical: middle; }
        .pane DigitGrid { max-height: 14; }
        .plots { row-span: 2; }
        .line { height: 1; width: 1fr; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
        #hint { height: 1; width: 1fr; padding: 0 0 0 2; color: $foreground 50%; text-wrap: nowrap; }
    }
    CorruptionBench.-large .pictures { grid-columns: 88 1fr; }
    CorruptionBench.-huge .pictures { grid-rows: 15 1fr; }
    CorruptionBench.-huge .plots { row-span: 1; layout: horizontal; }
    CorruptionBench.-huge #back-pane { column-span: 2; }
    CorruptionBench.-huge #back { max-height: 28; }
    CorruptionBench.-small .pictures { grid-size: 1 1; grid-columns: 1fr; grid-rows: 1fr; }
    CorruptionBench.-small .plots { row-span: 1; }
    """

    def __init__(self, pacer: FramePacer | None = None, *, still: bool = False) -> None:
        super().__init__()
        self._pacer, self._still = pacer, still
        self._walks: dict[int, tuple[Array, float, Reading | None]] = {}  # by the amount's index
        self._view = 0  # of those that there is no room for at once

    def fields(self) -> Iterator[Widget]:
        """The class that the model is told, and the steps of the walk."""
        classes = choice("class", (ITS_OWN, ANY, *map(str, range(10))), ITS_OWN, width=13)
        yield FieldRow(("class", classes), ("steps of the walk", entry("steps", "12", width=5)), Static(id="hint"))

    def pictures(self) -> Iterator[Widget]:
        """The paths above, the ways back below; plots beside them."""
        with Container(classes="pictures"):
            yield _pane("noisy", DigitGrid(3, id="noisy"))
            yield Vertical(
                _pane("errors", SmallPlot(id="errors")), _pane("shares", SmallPlot(id="shares")), classes="plots"
            )
            yield _pane("back", DigitGrid(3, id="back"))
        yield Timeline(self._pacer, still=self._still)

    # What it asks

    def request(self) -> dict[str, Any]:
        """The class and the steps."""
        chosen = self.query_one("#class", CompactSelect).chosen
        named = {ITS_OWN: None, ANY: NO_CLASS}
        return {
            "class": named[chosen] if chosen in named else int(chosen),
            "steps": self.number("steps", *STEPS),
            "first": self._at,  # the amount whose walk is seen first
        }

    # What it shows

    def hear(self, answer: BenchShown) -> None:
        """Show every amount; or, of a later part of the answer, where one walk ends."""
        if "walk" in answer.values:
            read = answer.values["read"]
            walk = answer.arrays["walked"], answer.values["error"], read and (read[0], read[1])
            self._walks[answer.values["walk"]] = walk
            self.draw()
            return
        first, self.shown = self.shown is None, answer
        self._walks = {}
        self.query_one("#class", CompactSelect).disabled = answer.values["told"] is None  # the model knows none
        noise_levels = answer.values["amounts"]
        assert self.timeline is not None
        if first:
            self.timeline.load(len(noise_levels) - 1, noise_levels)
            self.timeline.seek(OPENS_AT)
        else:
            self.timeline.replace_steps(len(noise_levels) - 1, noise_levels)
        self.draw()

    @property
    def _at(self) -> int:
        """The amount's index."""
        assert self.timeline is not None
        return OPENS_AT if self.shown is None else self.timeline.position

    def draw(self) -> None:
        """Draw one amount of noise."""
        if self.shown is None:
            return
        self._draw_paths()
        self._draw_back()
        key = "v " if self._has(MEDIUM) and self.switches else ""
        for name, curves in (("errors", self._errors), ("shares", self._shares)):
            if name not in self.views:
                continue
            plot = self.query_one(f"#{name}", SmallPlot)
            plot.show(curves, self.shown.values["amounts"][self._at])
            shares = "image ↘ noise ↗" if plot.size.width >= ROOMY else "image ↘"
            parts = [(key, "bold $accent"), (f"{'error' if name == 'errors' else shares}  ", "$foreground 50%")]
            parts += [(f"━ {told}  ", f"${curve[0]}") for told, curve in curves.items() if not told.endswith(NOISE)]
            self._line(name, Content.assemble(*parts).rstrip())

    def _draw_paths(self) -> None:
        """The noisy digit on each path, with its shares."""
        assert self.shown is not None
        values, arrays, at = self.shown.values, self.shown.arrays, self._at
        paths, (height, width) = values["paths"], arrays["digit"].shape
        noisy = b"".join(ink(arrays[f"noisy {name}"].part(at).values) for name in paths)
        self.query_one("#noisy", DigitGrid).set_images(noisy, len(paths), height, width)
        self._above("noisy", list(map(self._mixed, paths)), paths.index(values["own"]))

    def _draw_back(self) -> None:
        """What the model makes of the digit on its own path, at once and in a walk."""
        assert self.shown is not None
        values, arrays, at = self.shown.values, self.shown.arrays, self._at
        height, width = arrays["digit"].shape
        walk, own = self._walks.get(at), values["own"]
        reading = values["read"][at] if values["read"] else None
        found = {
            f"1 step {self._told(values['errors'][at], reading)}": ink(arrays["predictions"].part(at).values),
            f"walk {self._told(*walk[1:])}" if walk else "walking": ink(walk[0].values)
            if walk
            else bytes(height * width),
        }
        if self._has(MEDIUM):
            label = values["label"]
            found["the digit" if label is None else f"the digit, a {label}"] = ink(arrays["digit"].values)
        else:
            found = {self._mixed(own): ink(arrays[f"noisy {own}"].part(at).values), **found}
        self.query_one("#back", DigitGrid).set_images(b"".join(found.values()), 3, height, width)
        self._above("back", list(found), None if self._has(MEDIUM) else 0)

    def _mixed(self, path: str) -> str:
        """A path with its shares of image and noise."""
        assert self.shown is not None
        rows = self.shown.arrays[f"shares {path}"].rows
        image, noise = rows[self._at]
        if not self._is_wordy("noisy"):
            return f"{path} {_brief(image)} + {_brief(noise)}"
        if all(abs(sum(shares) - 1) < 1e-6 for shares in rows):
            return f"{path} {image:.0%} image + {noise:.0%} noise"
        return f"{path} {_brief(image)} image + {_brief(noise)} noise"  # whose squares add up to 1

    def _told(self, error: float | None, read: Reading | None) -> str:
        """An error, and what a classifier reads in the picture."""
        said = "" if error is None else f"{error:.3f}".replace("0.", ".", 1)
        if read is None:
            return said
        return f"{said}, read {read[0]} ({read[1]}%)" if self._is_wordy("back") else f"{said}: {read[0]}"

    def _is_wordy(self, name: str) -> bool:
        """Whether the digits of a grid are so large that there is room for words above them."""
        return self._laid(name)[1] >= WORDY

    def _laid(self, name: str) -> tuple[int, int, int]:
        """The columns left of a grid's first digit, those of a digit, and those between two."""
        width, height = self.query_one(f"#{name}", DigitGrid).size
        _, digit, _, gap, _ = fit(3, Size(width, 2 * height), 28, 28, 3)
        return max(0, width - 3 * digit - 2 * gap) // 2, digit, gap

    def _above(self, name: str, texts: Sequence[str], lit: int | None) -> None:
        """A text above each of the three digits of a grid; that of the model's own path is marked."""
        left, digit, gap = self._laid(name)
        parts = [(" " * left, "")]
        for number, text in enumerate(texts):
            told = f"▸{text}" if number == lit else text
            told = told[: digit + gap].center(digit).ljust(digit + gap)
            parts.append((told, "bold $accent" if number == lit else "$foreground 70%"))
        self._line(name, Content.assemble(*parts).rstrip())

    def _line(self, name: str, text: Content) -> None:
        self.query_one(f"#{name}-line", Static).update(text, layout=False)

    @property
    def _errors(self) -> Curves:
        """The error of one step, and of a walk as far as they are there, over the amount."""
        assert self.shown is not None
        noise_levels, errors = self.shown.values["amounts"], self.shown.values["errors"]
        there = sorted(self._walks)
        walked = [self._walks[at][1] for at in there]
        return {
            "one step": (COLORS[0], noise_levels, errors),
            "walk": (COLORS[1], [noise_levels[at] for at in there], walked),
        }

    @property
    def _shares(self) -> Curves:
        """What is left of the image on each path, and what there is of noise, over the amount."""
        assert self.shown is not None
        values, arrays = self.shown.values, self.shown.arrays
        alike: dict[tuple[tuple[float, ...], ...], list[str]] = {}
        for name in values["paths"]:
            alike.setdefault(tuple(map(tuple, arrays[f"shares {name}"].rows)), []).append(name)
        found = {}
        for (shares, names), color in zip(alike.items(), COLORS, strict=False):
            for kind, ys in zip(("", NOISE), zip(*shares, strict=True), strict=True):
                found[", ".join(names) + kind] = color, values["amounts"], ys
        return found

    # What there is room for

    def _has(self, room: tuple[int, int]) -> bool:
        width, height = self.screen.size
        return width >= room[0] and height >= room[1]

    @property
    def views(self) -> tuple[str, ...]:
        """What is in sight."""
        if self._has(WIDE):
            return VIEWS
        if self._has(MEDIUM):
            return "back", "noisy", VIEWS[2 + self._view % 2]
        return (VIEWS[self._view % 4],)

    @property
    def switches(self) -> bool:
        """Whether there is more to see."""
        return self.views != VIEWS

    def next_view(self) -> None:
        """The other plot, or, where there is room for one thing, the next."""
        self._view += 1
        self._arrange()

    def on_mount(self) -> None:
        """Show what there is room for."""
        super().on_mount()
        self._arrange()

    def on_resize(self) -> None:
        """Show more or less."""
        super().on_resize()
        self._arrange()

    def _arrange(self) -> None:
        views = self.views
        for name in VIEWS:
            self.query_one(f"#{name}-pane").display = name in views
        self.query_one(".plots").display = views[-1] in VIEWS[2:]
        self.set_class(not self._has(MEDIUM), "-small")
        self.set_class(self._has(LARGE), "-large")
        self.set_class(self._has(HUGE), "-huge")
        hint = Content("path image + noise, error: read")
        if not self._has(MEDIUM):
            hint = Content.assemble(("v", "bold $accent"), f" {1 + self._view % 4} of 4")
        self.query_one("#hint", Static).update("" if self._has(WIDE) else hint)
        self.call_after_refresh(self.draw)  # captions stand where the digits do

    # What can be taken away

    def panels(self) -> list[Panel]:
        """The digit on each path, and both ways back."""
        if self.shown is None:
            return []
        arrays, at = self.shown.arrays, self._at
        shape = (arrays["digit"].shape[0], arrays["digit"].shape[1])
        found = [Panel("digit", shape, ink(arrays["digit"].values))]
        found += [
            Panel(name, shape, ink(arrays[f"noisy {name}"].part(at).values)) for name in self.shown.values["paths"]
        ]
        found.append(Panel("one step", shape, ink(arrays["predictions"].part(at).values)))
        if at in self._walks:
            found.append(Panel("walk", shape, ink(self._walks[at][0].values)))
        return found

    def script(self, subject: LabInput) -> list[str]:
        """The same amount, with both errors."""
        asked = self.request()
        label = asked["class"]
        if label is None and self.shown is not None:
            label = self.shown.values["told"]
        t = self.shown.values["amounts"][self._at] if self.shown is not None else OPENS_AT / 40
        told = "" if label is None else f", label={label}"
        return [
            "from core import corruption_sweep, load_model",
            *subject.script,
            f'model = load_model("{subject.model}", device="cpu")',
            f"asked = dict(seed={subject.seed}, steps={asked['steps']}{told})",
            f"sweep = corruption_sweep(model, image[None], [{t}], **asked)",
            "for point in sweep:",
            '    print("amount", point.amount, "image", point.signal, "noise", point.noise)',
            '    print("one step", point.error, "walk", point.walked_error)',
        ]


def _brief(share: float) -> str:
    return f"{share:.2f}".replace("0.", ".", 1) if share < 0.995 else "1"


def _pane(name: str, picture: Widget) -> Vertical:
    """A picture under its line."""
    return Vertical(Static(id=f"{name}-line", classes="line"), picture, id=f"{name}-pane", classes="pane")
