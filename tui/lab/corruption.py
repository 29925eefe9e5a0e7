"""The corruption bench: one digit under more and more noise, and the way back in one step or in many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from core.sampling_options import NO_CLASS
from tui.lab.arrays import Array, ink
from tui.lab.bench import Bench, Panel, Subject, choice, entry, row
from tui.lab.small_plot import Curves, SmallPlot
from tui.link import Link
from tui.messages import BenchShown
from tui.widgets.choice import Choice
from tui.widgets.digits import DigitGrid
from tui.widgets.timeline import Timeline

ITS_OWN, ANY = "its own", "any"
STEPS = (1, 100)  # of a walk, the least and the greatest
OPENS_AT = 24  # of the engine's 41 amounts: at 0.6 the digit can hardly be read
COLORS = ("plot-average", "plot-held-out", "plot-run-3")
NARROW = 72  # columns that have no room for a word more
WIDE = 110  # columns that have room for both plots at once
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
        .digits { width: 3fr; height: 1fr; }
        .plots { width: 2fr; height: 1fr; margin-left: 1; }
        .line { height: 1; width: 1fr; color: $foreground 60%; text-wrap: nowrap; text-overflow: ellipsis; }
    }
    .-wide CorruptionBench .digits { width: 88; }
    """

    def __init__(self, link: Link | None = None, *, still: bool = False) -> None:
        super().__init__()
        self._link, self._still = link, still
        self._walks: dict[int, tuple[Array, float, Reading | None]] = {}  # by the amount's index
        self._shows_shares = False  # in the one plot that there is room for

    def fields(self) -> Iterator[Widget]:
        """The class that the model is told, and the steps of the walk."""
        classes = choice("class", (ITS_OWN, ANY, *map(str, range(10))), ITS_OWN, width=13)
        yield row(("class", classes), ("steps of the walk", entry("steps", "12", width=5)))

    def pictures(self) -> Iterator[Widget]:
        """The paths above, the ways back below; plots beside them."""
        with Horizontal(classes="pictures"):
            with Vertical(classes="digits"):
                yield Static(id="noisy-line", classes="line")
                yield DigitGrid(3, id="noisy")
                yield Static(id="back-line", classes="line")
                yield DigitGrid(3, id="back")
            with Vertical(classes="plots"):
                yield Static(id="errors-line", classes="line")
                yield SmallPlot(id="errors")
                yield Static(id="shares-line", classes="line")
                yield SmallPlot(id="shares")
        yield Timeline(self._link, still=self._still)

    # What it asks

    def request(self) -> dict[str, Any]:
        """The class and the steps."""
        chosen = self.query_one("#class", Choice).chosen
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
        amounts = answer.values["amounts"]
        assert self.timeline is not None
        if first:
            self.timeline.load(len(amounts) - 1, amounts)
            self.timeline.seek(OPENS_AT)
        else:
            self.timeline.stretch(len(amounts) - 1, amounts)
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
        values, arrays, at = self.shown.values, self.shown.arrays, self._at
        height, width = arrays["digit"].shape
        paths = values["paths"]
        noisy = b"".join(ink(arrays[f"noisy {name}"].part(at).values) for name in paths)
        self.query_one("#noisy", DigitGrid).show(noisy, len(paths), height, width)
        shares = (arrays[f"shares {name}"].rows[at] for name in paths)
        narrow = self.screen.size.width < NARROW
        and_ = " " if narrow else " + "
        named = [f"{name} {_brief(one)}{and_}{_brief(two)}" for name, (one, two) in zip(paths, shares, strict=True)]
        self._thirds("noisy", named, paths.index(values["own"]))
        walk = self._walks.get(at)
        images = [
            ink(arrays["predictions"].part(at).values),
            bytes(height * width) if walk is None else ink(walk[0].values),
            ink(arrays["digit"].values),
        ]
        self.query_one("#back", DigitGrid).show(b"".join(images), 3, height, width)
        reading = values["read"][at] if values["read"] else None
        label = values["label"]
        digit = "the digit" if label is None else f"a {label}" if narrow else f"the digit, a {label}"
        named = [
            f"1 step {self._told(values['errors'][at], reading)}",
            "walking" if walk is None else f"walk {self._told(*walk[1:])}",
            digit,
        ]
        self._thirds("back", named)
        self._plot()

    def _thirds(self, name: str, texts: Sequence[str], lit: int | None = None) -> None:
        """A text above each of the three pictures of a grid."""
        third = max(1, self.query_one(f"#{name}", DigitGrid).size.width // 3)
        parts = [
            (text[:third].center(third), "bold $accent" if number == lit else "$foreground 70%")
            for number, text in enumerate(texts)
        ]
        self._line(name, Content.assemble(*parts))

    def _told(self, error: float | None, read: Reading | None) -> str:
        """An error, and what a classifier reads in the picture."""
        said = "" if error is None else f"{error:.3f}".replace("0.", ".", 1)
        sure = "" if read is None or self.screen.size.width < WIDE else f" ({read[1]}%)"
        return said if read is None or self.screen.size.width < NARROW else f"{said}: {read[0]}{sure}"

    def _line(self, name: str, text: Content) -> None:
        self.query_one(f"#{name}-line", Static).update(text, layout=False)

    def _plot(self) -> None:
        assert self.shown is not None
        both = self.screen.size.width >= WIDE
        for name, curves in (("errors", self._errors), ("shares", self._shares)):
            seen = both or (name == "shares") == self._shows_shares
            plot, line = self.query_one(f"#{name}", SmallPlot), self.query_one(f"#{name}-line")
            plot.display = line.display = seen
            if seen:
                plot.show(curves, self.shown.values["amounts"][self._at])
                title = "error  " if name == "errors" else "image's share  "
                parts: list[str | tuple[str, str]] = [(title, "$foreground 50%")]
                for told, (color, _, _) in curves.items():
                    parts += [(f"━ {told}  ", f"${color}")]
                self._line(name, Content.assemble(*parts))

    @property
    def _errors(self) -> Curves:
        """The error of one step, and of a walk as far as they are there, over the amount."""
        assert self.shown is not None
        amounts, errors = self.shown.values["amounts"], self.shown.values["errors"]
        there = sorted(self._walks)
        walked = [self._walks[at][1] for at in there]
        return {
            "one step": (COLORS[0], amounts, errors),
            "walk": (COLORS[1], [amounts[at] for at in there], walked),
        }

    @property
    def _shares(self) -> Curves:
        """What is left of the image on each path, over the amount."""
        assert self.shown is not None
        values, arrays = self.shown.values, self.shown.arrays
        alike: dict[tuple[float, ...], list[str]] = {}
        for name in values["paths"]:
            alike.setdefault(tuple(shares[0] for shares in arrays[f"shares {name}"].rows), []).append(name)
        return {
            ", ".join(names): (color, values["amounts"], shares)
            for (shares, names), color in zip(alike.items(), COLORS, strict=False)
        }

    def next_view(self) -> None:
        """The other plot, where there is room for one."""
        self._shows_shares = not self._shows_shares
        self.draw()

    @property
    def switches(self) -> bool:
        """Whether there is another plot to see."""
        return self.screen.size.width < WIDE

    def on_resize(self) -> None:
        """One plot or two."""
        super().on_resize()
        if self.shown is not None:
            self.draw()

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

    def script(self, subject: Subject) -> list[str]:
        """The same amount, with both errors."""
        asked = self.request()
        label = asked["class"]
        if label is None and self.shown is not None:
            label = self.shown.values["told"]
        amount = self.shown.values["amounts"][self._at] if self.shown is not None else OPENS_AT / 40
        told = "" if label is None else f", label={label}"
        return [
            "from core import corruption_sweep, load_model",
            *subject.script,
            f'model = load_model("{subject.model}", device="cpu")',
            f"asked = dict(seed={subject.seed}, steps={asked['steps']}{told})",
            f"sweep = corruption_sweep(model, image[None], [{amount}], **asked)",
            "for point in sweep:",
            '    print("amount", point.amount, "image", point.signal, "noise", point.noise)',
            '    print("one step", point.error, "walk", point.walked_error)',
        ]


def _brief(share: float) -> str:
    return f"{share:.2f}".replace("0.", ".", 1) if share < 0.995 else "1"
