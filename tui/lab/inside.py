"""The inside bench: a net's layers, what the chosen one makes of a noisy digit, and what a pixel of the answer sees."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Input, Static, Switch

from core.config.training import IMAGE_SIZE
from core.errors import MinidiffError
from tui.arrays import Array, brightness, ink
from tui.lab.bench import Bench, FieldRow, LabInput, Panel, choice, entry
from tui.lab.image_canvas import ImageCanvas
from tui.lab.layers import Layers
from tui.lab.pixel_picker import PixelPicker
from tui.lab.product_table import number
from tui.lab.tile_grid import fitting, sheet
from tui.messages import BenchShown
from tui.widgets.compact_select import CompactSelect
from tui.widgets.digits import DigitGrid

VIEWS = ("maps", "kernels", "attention")
ANSWER = "answer"  # the view of the pictures that stand beside the others where there is room
WIDE, VAST = 120, 180  # columns from which the answer is always in sight, and from which it stands beside the tiles
PART = 0.01  # of the strongest: from there on a pixel takes part in a field
CLASSES = {"its own": None, "any": -1, **{str(digit): digit for digit in range(10)}}


class InsideBench(Bench):
    """The layers of a net, the tiles of one, and the answer with the receptive field of a pixel."""

    SCOPED_CSS = False  # the rules for sizes look at the screen's classes
    NAME = "inside"
    TITLE = "Inside"
    ABOUT = (
        "Each layer turns maps into other maps; the last are the answer. Early ones see a few pixels each, the small "
        "ones in the middle the whole digit, and skips hand fine detail across. The field shows which pixels of the "
        "noisy digit move one pixel of the answer, and by how much."
    )
    TRY = "arrows on the answer (v or tab leads there), k: no skips, amount 0.9."
    DEFAULT_CSS = """
    InsideBench {
        Layers { width: 33; }
        .tiles { width: 1fr; height: 1fr; margin: 0 0 0 1; }
        #boards { width: 1fr; height: 15; layout: horizontal; margin: 0 0 0 1; }
        .board { width: 1fr; height: 1fr; }
        .board .caption { width: 1fr; text-align: center; }
        .right-side { width: 1fr; height: 1fr; }
        &.-answer .tiles { display: none; }
    }
    .-narrow InsideBench, .-normal InsideBench {
        Layers { width: 31; }
        #boards { display: none; }
        #noisy-board { display: none; }
        &.-answer Layers { width: 21; }
        &.-answer #boards { display: block; height: 1fr; }
    }
    .-narrow InsideBench {
        Layers { width: 21; }
        &.-answer Layers { display: none; }
        #boards { margin: 0; }
    }
    InsideBench.-vast {
        Layers { width: 56; }
        .right-side { layout: horizontal; }
        #boards { width: 58; height: 1fr; layout: grid; grid-size: 2; grid-rows: 1fr 2fr; }
        #looking { column-span: 2; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._view = 0
        self._layer: str | None = None  # None: the engine chooses
        self._pixel = (IMAGE_SIZE // 2, IMAGE_SIZE // 2)
        self._model = self._asked = ""  # whose layers are listed; who is asked about
        self._tones: dict[str, bytes] = {}  # of the tiles of every view

    def fields(self) -> Iterator[Widget]:
        """How noisy the digit is, what the net is told, and whether its skips carry anything."""
        yield FieldRow(
            ("amount", entry("amount", "0.5", width=7)),
            ("class", choice("class", CLASSES, "its own", width=12)),
            ("skips", Switch(True, id="skips", animate=False)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The list, the tiles, and the three boards."""
        with Horizontal(classes="pictures"):
            yield Layers(id="layers")
            with Container(classes="right-side"):
                with Vertical(classes="tiles"):
                    yield Static(classes="caption")
                    yield DigitGrid(id="tiles")
                with Container(id="boards"):
                    yield _board("noisy-board", ImageCanvas(id="noisy"))
                    yield _board("field-board", ImageCanvas(id="field"))
                    yield _board("looking", PixelPicker(id="answer"))

    # What it asks

    def request(self) -> dict[str, Any]:
        """The amount, the class, the layer, the pixel, and whether skips are on."""
        self._asked = self.screen.query_one("#model", CompactSelect).chosen
        return {
            "amount": self._noise_level(),
            "class": CLASSES[self.query_one("#class", CompactSelect).chosen],
            "layer": self._layer if self._asked == self._model else None,
            "pixel": list(self._pixel),
            "skips": self.query_one("#skips", Switch).value,
        }

    def _noise_level(self) -> float:
        text = self.query_one("#amount", Input).value.strip()
        try:
            t = float(text)
        except ValueError:
            t = math.nan
        if not 0 <= t <= 1:
            raise MinidiffError(f"amount takes a number from 0 (the digit) to 1 (noise), not {text or 'nothing'}")
        return t

    def toggle_skips(self) -> None:
        """Skip connections on or off."""
        self.query_one("#skips", Switch).toggle()

    def on_layers_chosen(self, message: Layers.Chosen) -> None:
        """Ask for another layer."""
        message.stop()
        self._layer = message.name
        self.changed()

    def on_pixel_picker_pointed(self, message: PixelPicker.Pointed) -> None:
        """Frame another pixel at once, and ask what it sees."""
        message.stop()
        self._pixel = message.row, message.column
        self._boards()
        self.changed()

    # What it shows

    @property
    def views(self) -> tuple[str, ...]:
        """What `next_view` goes through."""
        return VIEWS if self.screen.size.width >= WIDE else (*VIEWS, ANSWER)

    @property
    def view(self) -> str:
        """The view in sight."""
        return self.views[self._view % len(self.views)]

    @property
    def switches(self) -> bool:
        """There are always more views than one."""
        return True

    def next_view(self) -> None:
        """Another view; that of the answer has the arrow keys, and the list has them back after it."""
        self._view = (self._view + 1) % len(self.views)
        self._arrange()
        if self.view == ANSWER:
            self.call_after_refresh(self.query_one("#answer").focus)  # once it is in sight
        elif ANSWER in self.views:
            self.enter()
        self.draw()

    def enter(self) -> None:
        """The list has the keys."""
        self.query_one(Layers).list.focus()

    def on_descendant_focus(self) -> None:
        """Tell whether the arrows move the pixel."""
        self._boards()

    def on_descendant_blur(self) -> None:
        """Tell whether the arrows move the pixel."""
        self._boards()

    def on_resize(self) -> None:
        """Show the answer beside the rest, or as a view of its own."""
        super().on_resize()
        self._arrange()
        self.call_after_refresh(self.draw)

    def _arrange(self) -> None:
        self.set_class(self.view == ANSWER, "-answer")
        self.set_class(self.screen.size.width >= VAST, "-vast")

    def hear(self, answer: BenchShown) -> None:
        """Show the answer; the list is written anew only for another net."""
        if self._model != self._asked:
            self._model, self._layer = self._asked, None
        self.shown = answer
        layers = self.query_one(Layers)
        layers.fill(answer.values["table"])
        if self._layer is None:
            self._layer = answer.values["layer"]
            layers.point(self._layer)
        self.query_one("#class", CompactSelect).disabled = not answer.values["classes"]
        self._tones = {name: brightness(answer.arrays[name].values) for name in VIEWS if name in answer.arrays}
        self.draw()

    def draw(self) -> None:
        """Draw the tiles and the boards."""
        if self.shown is not None:
            self._tiles()
            self._boards()

    def _tiles(self) -> None:
        assert self.shown is not None
        tiles, grid = self.shown.arrays.get(self.view), self.query_one("#tiles", DigitGrid)
        if tiles is None or self.view not in VIEWS:
            grid.clear()
            said = self._lack()
        else:
            _, height, width = tiles.shape
            n = fitting(tiles, *grid.size)
            grid.set_images(self._tones[self.view][: n * height * width], n, height, width)
            said = self._found(tiles, n)
        key = Content.assemble(("v ", "bold $accent"), (self.view, "$foreground"))
        self.query_one(".tiles .caption", Static).update(Content.assemble(key, " ", said), layout=False)

    def _found(self, tiles: Array, n: int) -> str:
        """How many of how many tiles are drawn, and what they are."""
        assert self.shown is not None
        height, width = tiles.shape[1:]
        if self.view == "attention":
            y, x = (at * height // IMAGE_SIZE for at in self.shown.values["pixel"])
            return f"of the place {y}, {x}: {n} of {tiles.shape[0]} heads"
        most = self.shown.values["kernels"] if self.view == "kernels" else self._shape[0]
        what = f"{n} of {most}" + (" channels" if self.view == "maps" else "")
        whole = f"{what}, {height}x{width}"
        if self.screen.size.width < WIDE:
            return whole
        low, high = (number(pick(tiles.values)) for pick in (min, max))
        return f"of {self._titled}: {whole}, {low} to {high}"

    def _lack(self) -> str:
        """Why there is nothing to be drawn."""
        assert self.shown is not None
        values = self.shown.values
        if self.view == "kernels":
            return "this layer has no kernels"
        if self.view == "attention":
            attending = values["attending"]
            return "this layer does not attend" if attending else "this net does not attend"
        if not self._shape:
            return "no map: a container"
        return f"no map: it puts out {'x'.join(map(str, self._shape))} numbers"

    @property
    def _titled(self) -> str:
        """The chosen layer's, as a person calls it."""
        assert self.shown is not None
        return self.shown.values["layer"] or "the net"

    @property
    def _shape(self) -> tuple[int, ...]:
        """What the chosen layer puts out."""
        assert self.shown is not None
        name = self.shown.values["layer"]
        return next((layer.shape or () for layer in self.query_one(Layers).rows if layer.name == name), ())

    def _boards(self) -> None:
        if self.shown is None:
            return
        arrays, values = self.shown.arrays, self.shown.values
        row_, column = self._pixel
        field = arrays["field"]
        pictures = {
            "noisy": ink(arrays["noisy"].values),
            "field": brightness(field.values),
            "answer": ink(arrays["prediction"].values),
        }
        for name, image in pictures.items():
            self.query_one(f"#{name}", ImageCanvas).lay(image, field.shape, frame=Region(column, row_, 1, 1))
        part = sum(value > PART * field.largest for value in field.values)
        seen = f"field: {part} pixels over 1%" if field.largest else "field: nothing moves it"
        off = "" if self.query_one("#skips", Switch).value else ", no skips"
        self._over("noisy", f"noisy, {values['amount']:g}")
        self._over("field", seen)
        key = ("v " if self.view == ANSWER else "", "bold $accent")
        lit = "$accent" if self.query_one("#answer").has_focus else ""
        self._over("answer", Content.assemble(key, (f"answer at {row_}, {column}{off}", lit)))

    def _over(self, name: str, text: str | Content) -> None:
        board = self.query_one(f"#{name}").parent
        assert isinstance(board, Widget)
        board.query_one(".caption", Static).update(text, layout=False)

    # What can be taken away

    def panels(self) -> list[Panel]:
        """The noisy digit, the answer, the field, and the tiles as one sheet."""
        if self.shown is None:
            return []
        arrays = self.shown.arrays
        side = (IMAGE_SIZE, IMAGE_SIZE)
        pictures = [
            Panel("noisy", side, ink(arrays["noisy"].values)),
            Panel("answer", side, ink(arrays["prediction"].values)),
            Panel("field", side, brightness(arrays["field"].values)),
        ]
        view = self.view if self.view in arrays else "maps"
        if view in arrays:
            pictures.append(sheet(view, arrays[view].shape, self._tones[view]))
        return pictures

    def script(self, subject: LabInput) -> list[str]:
        """The layers, the chosen one's maps, the answer, and the field."""
        asked = self.request()
        empty: dict[str, Any] = {"classes": False, "label": None, "layer": ""}
        values = self.shown.values if self.shown is not None else empty
        row_, column = self._pixel
        label = None
        if values["classes"]:
            label = asked["class"] if asked["class"] is not None else values["label"]
            label = -1 if label is None else label
        labels = "None" if label is None else f"torch.tensor([{10 if label < 0 else label}])"
        lines = [
            "import torch",
            "",
            "from core import corruption_sweep, feature_maps, layer_table, load_model, receptive_field",
            "from core.lab import layer_kernels, one_step",
            "from core.diffusion.prob_paths import PATHS",
            *(line for line in subject.script if line != "import torch"),
            f'model = load_model("{subject.model}", device="cpu")',
            f"label, labels = {label}, {labels}",
            f"(point,) = corruption_sweep(model, image[None], [{asked['amount']}], label=label, seed={subject.seed})",
            "x = PATHS[model.config.path].normalize(point.x[None])",
            f"amount = {asked['amount']} if model.config.time_conditioning else 0.0",
            *([] if asked["skips"] else ["model.net.skips = False"]),
            "for row in layer_table(model.net):",
            '    print("  " * row.depth + row.name, row.kind, row.shape, row.parameters, row.operations)',
            f'layer = "{values["layer"]}"',
            "for name, maps in feature_maps(model.net, x, amount, labels, layers=[layer]).items():",
            '    print("maps of", name, tuple(maps.shape), "from", float(maps.min()), "to", float(maps.max()))',
            "kernels = layer_kernels(model.net).get(layer)",
            'print("kernels", None if kernels is None else tuple(kernels.shape))',
            f"answer = one_step(model, point.x[None], {asked['amount']}, label)[0, 0]",
            f'print("answer", float(answer[{row_}, {column}]))',
            f"field = receptive_field(model, x, ({row_}, {column}), {asked['amount']}, labels)",
            f'print("field", int((field > {PART} * field.max()).sum()), "pixels")',
        ]
        if "attention" in (self.shown.arrays if self.shown is not None else {}):
            lines.insert(4, "from core.lab import attention_maps")
            lines.append('print("attention", tuple(attention_maps(model.net, x, amount, labels)[layer].shape))')
        return lines


def _board(name: str, board: ImageCanvas) -> Vertical:
    """A board under its caption."""
    return Vertical(Static(classes="caption", markup=False), board, id=name, classes="board")
