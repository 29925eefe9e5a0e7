"""The inside bench: a network's layers, what one of them computes, and the receptive field of an output pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator

from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Input, Static, Switch

from core.engine.protocol import Array, InsideReply, InsideRequest, LabReply
from core.errors import MinidiffError
from tui.grayscale import from_unit, normalized
from tui.lab.bench import Bench, ClassField, FieldRow, LabInput, Panel, entry
from tui.lab.image_canvas import ImageCanvas
from tui.lab.layers import Layers
from tui.lab.pixel_picker import PixelPicker
from tui.lab.product_table import number
from tui.lab.tile_grid import count_fitting, tile_sheet
from tui.widgets.image_grid import ImageGrid

VIEWS = ("maps", "kernels", "attention")
PREDICTION = "prediction"  # the view of the images that stand beside the others in wide terminals
WIDE, VAST = 120, 180  # columns from which the images are always visible, and from which they stand beside the tiles
FIELD_THRESHOLD = 0.01  # of the strongest gradient, from which a pixel counts as part of a receptive field


class InsideBench(Bench[InsideReply]):
    """The layers of a network, feature maps or kernels of one, and the prediction with a pixel's receptive field."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "inside"
    TITLE = "Inside"
    ABOUT = (
        "Each layer turns feature maps into other feature maps; the last is the prediction. Early layers see a few "
        "pixels, the small maps in the middle the whole image, and skip connections carry fine detail across. The "
        "receptive field shows which input pixels influence one pixel of the prediction, and how much."
    )
    TRY = "the arrow keys on the prediction (v or tab), j to switch skips off, t 0.9."
    REPLIES = (InsideReply,)
    DEFAULT_CSS = """
    InsideBench {
        Layers { width: 33; }
        .tiles { width: 1fr; height: 1fr; margin: 0 0 0 1; }
        #boards { width: 1fr; height: 15; layout: horizontal; margin: 0 0 0 1; }
        .board { width: 1fr; height: 1fr; }
        .board .caption { width: 1fr; text-align: center; }
        .right-side { width: 1fr; height: 1fr; }
        &.-prediction .tiles { display: none; }
    }
    .-narrow InsideBench, .-normal InsideBench {
        Layers { width: 31; }
        #boards { display: none; }
        #noisy-board { display: none; }
        &.-prediction Layers { width: 21; }
        &.-prediction #boards { display: block; height: 1fr; }
    }
    .-narrow InsideBench {
        Layers { width: 21; }
        &.-prediction Layers { display: none; }
        #boards { margin: 0; }
    }
    InsideBench.-vast {
        Layers { width: 56; }
        .right-side { layout: horizontal; }
        #boards { width: 58; height: 1fr; layout: grid; grid-size: 2; grid-rows: 1fr 2fr; }
        #prediction-board { column-span: 2; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._view = 0
        self._layer: str | None = None  # None: the engine chooses
        self._pixel: tuple[int, int] | None = None  # None: the middle
        self._model = self._requested_model = ""  # whose layers are listed; of the newest request
        self._tiles: dict[str, bytes] = {}  # uint8, by view

    def fields(self) -> Iterator[Widget]:
        """The noise level, the class given to the network, and whether skip connections are on."""
        yield FieldRow(
            ("noise level t", entry("t", "0.5", width=7)),
            ("class", ClassField(12)),
            ("skips", Switch(True, id="skips", animate=False)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The list of layers, the tiles, and the three images."""
        with Horizontal(classes="pictures"):
            yield Layers(id="layers")
            with Container(classes="right-side"):
                with Vertical(classes="tiles"):
                    yield Static(classes="caption")
                    yield ImageGrid(id="tiles")
                with Container(id="boards"):
                    yield _captioned("noisy-board", ImageCanvas(id="noisy"))
                    yield _captioned("field-board", ImageCanvas(id="field"))
                    yield _captioned("prediction-board", PixelPicker(id="prediction"))

    def request(self, subject: LabInput) -> InsideRequest:
        """The request that the fields describe."""
        _, height, width = subject.shape
        if self._pixel is None or self._pixel[0] >= height or self._pixel[1] >= width:
            self._pixel = height // 2, width // 2
        self._requested_model = subject.model
        return InsideRequest(
            **subject.fields,
            t=self._noise_level(),
            label=self.query_one(ClassField).label,
            layer=self._layer if subject.model == self._model else None,
            pixel=self._pixel,
            skips=self.query_one("#skips", Switch).value,
        )

    def _noise_level(self) -> float:
        text = self.query_one("#t", Input).value.strip()
        try:
            t = float(text)
        except ValueError:
            t = math.nan
        if not 0 <= t <= 1:
            raise MinidiffError(f"t takes a number from 0 (no noise) to 1 (only noise), not {text or 'nothing'}")
        return t

    def toggle_skips(self) -> None:
        """Switch skip connections on or off."""
        self.query_one("#skips", Switch).toggle()

    def on_layers_chosen(self, message: Layers.Chosen) -> None:
        message.stop()
        self._layer = message.name
        self.changed()

    def on_pixel_picker_pointed(self, message: PixelPicker.Pointed) -> None:
        message.stop()
        self._pixel = message.row, message.column
        self._draw_images()
        self.changed()

    @property
    def views(self) -> tuple[str, ...]:
        """The views that `next_view` cycles through."""
        return VIEWS if self.screen.size.width >= WIDE else (*VIEWS, PREDICTION)

    @property
    def view(self) -> str:
        """The visible view."""
        return self.views[self._view % len(self.views)]

    @property
    def has_more_views(self) -> bool:
        """True: only one view is visible."""
        return True

    def next_view(self) -> None:
        """Show the next view. The prediction takes the focus while it is the visible view."""
        self._view = (self._view + 1) % len(self.views)
        self._arrange()
        if self.view == PREDICTION:
            self.call_after_refresh(self.query_one("#prediction").focus)  # once it is visible
        elif PREDICTION in self.views:
            self.activate()
        self.draw()

    def activate(self) -> None:
        """Focus the list of layers."""
        self.query_one(Layers).list.focus()

    def on_descendant_focus(self) -> None:
        self._draw_images()  # the caption shows whether the arrow keys move the pixel

    def on_descendant_blur(self) -> None:
        self._draw_images()

    def on_resize(self) -> None:
        super().on_resize()
        self._arrange()
        self.call_after_refresh(self.draw)

    def _arrange(self) -> None:
        self.set_class(self.view == PREDICTION, "-prediction")
        self.set_class(self.screen.size.width >= VAST, "-vast")

    def show_reply(self, reply: LabReply) -> None:
        """Show the reply; the list of layers is rebuilt only for another network."""
        assert isinstance(reply, InsideReply)
        if self._model != self._requested_model:
            self._model, self._layer = self._requested_model, None
        self.shown = reply
        layers = self.query_one(Layers)
        layers.set_layers(reply.layers)
        if self._layer is None:
            self._layer = reply.layer
            layers.select(self._layer)
        self.query_one(ClassField).disabled = not reply.class_conditional
        arrays = {view: self._array(view) for view in VIEWS}
        self._tiles = {view: normalized(array.values) for view, array in arrays.items() if array is not None}
        self.draw()

    def _array(self, view: str) -> Array | None:
        assert self.shown is not None
        return {"maps": self.shown.maps, "kernels": self.shown.kernels, "attention": self.shown.attention}.get(view)

    def draw(self) -> None:
        """Draw the tiles and the images."""
        if self.shown is not None:
            self._draw_tiles(self.shown)
            self._draw_images()

    def _draw_tiles(self, reply: InsideReply) -> None:
        tiles, grid = self._array(self.view), self.query_one("#tiles", ImageGrid)
        if tiles is None:
            grid.clear()
            text = self._reason_for_no_tiles(reply)
        else:
            _, height, width = tiles.shape
            n = count_fitting(tiles.shape, *grid.size)
            grid.set_images(self._tiles[self.view][: n * height * width], n, height, width)
            text = self._tiles_caption(reply, tiles, n)
        key = Content.assemble(("v ", "bold $accent"), (self.view, "$foreground"))
        self.query_one(".tiles .caption", Static).update(Content.assemble(key, " ", text), layout=False)

    def _tiles_caption(self, reply: InsideReply, tiles: Array, n: int) -> str:
        """How many tiles of how many are drawn, and their size."""
        height, width = tiles.shape[1:]
        if self.view == "attention":
            sides = zip(reply.pixel, (height, width), reply.image.shape, strict=True)
            y, x = (at * new // old for at, new, old in sides)
            return f"from position {y}, {x}: {n} of {tiles.shape[0]} heads"
        total = reply.kernel_count if self.view == "kernels" else self._output_shape(reply)[0]
        text = f"{n} of {total}{' channels' if self.view == 'maps' else ''}, {height}x{width}"
        if self.screen.size.width < WIDE:
            return text
        low, high = (number(pick(tiles.values)) for pick in (min, max))
        return f"of {reply.layer or 'the network'}: {text}, {low} to {high}"

    def _reason_for_no_tiles(self, reply: InsideReply) -> str:
        if self.view == "kernels":
            return "this layer is not a convolution"
        if self.view == "attention":
            return "this layer has no attention" if reply.attention_layers else "this network has no attention"
        shape = self._output_shape(reply)
        if not shape:
            return "no feature map: a container"
        return f"no feature map: the output has shape {'x'.join(map(str, shape))}"

    @staticmethod
    def _output_shape(reply: InsideReply) -> tuple[int, ...]:
        """The shape of the chosen layer's output."""
        return next((layer.shape or () for layer in reply.layers if layer.name == reply.layer), ())

    def _draw_images(self) -> None:
        reply = self.shown
        if reply is None:
            return
        row_, column = self._pixel or reply.pixel
        field = reply.receptive_field
        images = {
            "noisy": from_unit(reply.noisy.values),
            "field": normalized(field.values),
            "prediction": from_unit(reply.prediction.values),
        }
        for name, image in images.items():
            self.query_one(f"#{name}", ImageCanvas).show_image(image, field.shape, frame=Region(column, row_, 1, 1))
        count = sum(value > FIELD_THRESHOLD * field.max_abs for value in field.values)
        self._set_image_caption("noisy", f"noisy, t {reply.t:g}")
        self._set_image_caption("field", f"field: {count} pixels over 1%" if field.max_abs else "field: no influence")
        skips = "" if self.query_one("#skips", Switch).value else ", no skips"
        key = ("v " if self.view == PREDICTION else "", "bold $accent")
        color = "$accent" if self.query_one("#prediction").has_focus else ""
        caption = Content.assemble(key, (f"predicted {row_}, {column}{skips}", color))
        self._set_image_caption("prediction", caption)

    def _set_image_caption(self, name: str, text: str | Content) -> None:
        parent = self.query_one(f"#{name}").parent
        assert isinstance(parent, Widget)
        parent.query_one(".caption", Static).update(text, layout=False)

    def panels(self) -> list[Panel]:
        """The noisy image, the prediction, the receptive field, and the tiles as one image."""
        reply = self.shown
        if reply is None:
            return []
        side = reply.image.shape[0], reply.image.shape[1]
        panels = [
            Panel("noisy", side, from_unit(reply.noisy.values)),
            Panel("prediction", side, from_unit(reply.prediction.values)),
            Panel("field", side, normalized(reply.receptive_field.values)),
        ]
        view = self.view if self._array(self.view) is not None else "maps"
        tiles = self._array(view)
        if tiles is not None:
            panels.append(tile_sheet(view, tiles.shape, self._tiles[view]))
        return panels

    def script(self, subject: LabInput) -> list[str]:
        """Python that computes the layer table, the layer's maps, the prediction, and the receptive field."""
        request, reply = self.request(subject), self.shown
        row_, column = request.pixel
        label, layer = None, ""
        if reply is not None:
            layer = reply.layer
            if reply.class_conditional:
                own = -1 if reply.label is None else reply.label
                label = own if request.label is None else request.label
        labels = "None" if label is None else f"torch.tensor([{subject.null_class if label < 0 else label}])"
        sweep = f"corruption_sweep(model, {subject.model_image}, [{request.t}], label=label, seed={subject.seed})"
        predicted = f"one_step(model, point.x[None], {request.t}, label)"
        lines = [
            "import torch",
            "",
            "from core import corruption_sweep, feature_maps, layer_table, load_model, receptive_field",
            "from core.lab import layer_kernels, one_step",
            "from core.diffusion.prob_paths import PATHS",
            *(line for line in subject.script if line != "import torch"),
            f'model = load_model("{subject.model}", device="cpu")',
            f"label, labels = {label}, {labels}",
            f"(point,) = {sweep}",
            "x = PATHS[model.config.path].normalize(point.x[None])",
            f"t = {request.t} if model.config.time_conditioning else 0.0",
            *([] if request.skips else ["model.net.skips = False"]),
            "for row in layer_table(model.net, model.config.info.shape):",
            '    print("  " * row.depth + row.name, row.kind, row.shape, row.parameters, row.operations)',
            f'layer = "{layer}"',
            "for name, maps in feature_maps(model.net, x, t, labels, layers=[layer]).items():",
            '    print("maps of", name, tuple(maps.shape), "from", float(maps.min()), "to", float(maps.max()))',
            "kernels = layer_kernels(model.net).get(layer)",
            'print("kernels", None if kernels is None else tuple(kernels.shape))',
            f"prediction = {'luminance' if subject.shape[0] > 1 else 'torch.squeeze'}({predicted}[0])",
            f'print("prediction", float(prediction[{row_}, {column}]))',
            f"field = receptive_field(model, x, ({row_}, {column}), {request.t}, labels)",
            f'print("field", int((field > {FIELD_THRESHOLD} * field.max()).sum()), "pixels")',
        ]
        if reply is not None and reply.attention is not None:
            lines.insert(4, "from core.lab import attention_maps")
            lines.append('print("attention", tuple(attention_maps(model.net, x, t, labels)[layer].shape))')
        return lines


def _captioned(name: str, canvas: ImageCanvas) -> Vertical:
    """A canvas under its caption."""
    return Vertical(Static(classes="caption", markup=False), canvas, id=name, classes="board")
