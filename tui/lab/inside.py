"""The inside bench: a network's layers, what one of them computes, and the receptive field of an output pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator

from textual.containers import Container, Vertical
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget
from textual.widgets import Input, Static, Switch

from core.engine.lab_messages import InsideReply, InsideRequest
from core.engine.protocol import Array, LabReply, LabRequest
from core.errors import MinidiffError
from tui.grayscale import from_unit, normalized
from tui.lab.bench import Bench, ExportPanel
from tui.lab.fields import ClassField, FieldRow, entry
from tui.lab.image_canvas import ImageCanvas, share_scale
from tui.lab.inside_script import FIELD_THRESHOLD, inside_script
from tui.lab.lab_input import LabInput
from tui.lab.layers import Layers
from tui.lab.picture_panel import PicturePanel
from tui.lab.pixel_picker import PixelPicker
from tui.lab.tile_grid import scaled, tile_sheet
from tui.lab.tile_panel import TilePanel, Tiles

VIEWS = ("maps", "kernels", "attention")
PREDICTION = "prediction"  # the view of the images that stand beside the others in wide terminals
MEDIUM = 80  # columns from which there is room for all fields
WIDE = 120  # columns from which the images are always visible,
VAST = (176, 56)  # and columns and rows from which they are twice as large


class InsideBench(Bench[InsideReply]):
    """The layers of a network, feature maps or kernels of one, and the prediction with a pixel's receptive field."""

    SCOPED_CSS = False  # the rules for sizes use the screen's classes
    NAME = "inside"
    TITLE = "Inside"
    ABOUT = (
        "Early layers see a few pixels, the small feature maps in the middle the whole image, and skip connections "
        "carry fine detail across. The receptive field: which input pixels influence one pixel of the prediction."
    )
    SHORT = "Each layer turns feature maps into others."
    TRY = "the arrow keys on the prediction (tab), j to switch skips off, g for one range of all channels."
    REQUEST = InsideRequest
    REPLIES = (InsideReply,)
    DEFAULT_CSS = """
    InsideBench {
        .pictures { layout: grid; grid-size: 2 2; grid-columns: 32 1fr; grid-rows: 1fr 17; }
        #layers-panel { row-span: 2; }
        #boards { layout: horizontal; }
        .board { width: 1fr; height: 1fr; }
        .board .caption { width: 1fr; text-align: center; }
    }
    .-narrow InsideBench, .-normal InsideBench {
        .pictures { layout: horizontal; }
        #layers-panel { width: 33; }
        #boards, #noisy-board { display: none; }
        &.-prediction #layers-panel, &.-prediction TilePanel { display: none; }
        &.-prediction #boards { display: block; }
    }
    .-narrow InsideBench #layers-panel { width: 21; }
    InsideBench.-vast {
        .pictures { grid-columns: 56 1fr; grid-rows: 1fr 31; }
        #layers-panel { row-span: 1; }
        #boards { column-span: 2; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._layer: str | None = None  # None: the engine chooses
        self._pixel: tuple[int, int] | None = None  # None: the middle
        self._model = self._requested_model = ""  # whose layers are listed; of the newest request

    def fields(self) -> Iterator[Widget]:
        """The noise level, the class given to the network, and whether skip connections are on."""
        yield FieldRow(
            ("noise level t", entry("t", "0.5", width=7)),
            ("class", ClassField(12)),
            ("skips", Switch(True, id="skips", animate=False)),
            ("common range", Switch(False, id="common", animate=False)),
        )

    def pictures(self) -> Iterator[Widget]:
        """The list of layers, the tiles, and the three images."""
        noisy, prediction = ImageCanvas(id="noisy"), PixelPicker(id="prediction")
        field = ImageCanvas(id="field", always_grey=True)
        share_scale([noisy, field, prediction])
        with Container(classes="pictures"):
            yield PicturePanel(Layers(id="layers"), id="layers-panel")
            yield TilePanel(id="tile-panel")
            with PicturePanel(id="boards"):
                yield _captioned("noisy-board", noisy)
                yield _captioned("field-board", field)
                yield _captioned("prediction-board", prediction)

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

    def fill(self, request: LabRequest) -> None:
        """Set the fields, the layer and the pixel to those of a request of this bench."""
        assert isinstance(request, InsideRequest)
        self.set_fields(t=f"{request.t:.12g}", skips=request.skips, **{"class": ClassField.option(request.label)})
        self._pixel = max(0, request.pixel[0]), max(0, request.pixel[1])
        if request.layer is not None and request.model == self._model:
            self._layer = request.layer
            self.query_one(Layers).select(request.layer)

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

    def toggle_common_range(self) -> None:
        """Give all channels one range, or each its own."""
        self.query_one("#common", Switch).toggle()

    def choose_channel(self, by: int) -> None:
        """Choose the next channel, or the previous one."""
        self.query_one(TilePanel).choose(by)

    def on_switch_changed(self, event: Switch.Changed) -> None:
        """Only the drawing depends on the range."""
        if event.switch.id != "common":
            super().on_switch_changed(event)
            return
        event.stop()
        self.draw()

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
        self.screen.set_focus(self.query_one(Layers).list)  # at once: `focus` might follow the next key

    def on_descendant_focus(self) -> None:
        self._draw_images()  # the caption shows whether the arrow keys move the pixel

    def on_descendant_blur(self) -> None:
        self._draw_images()

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def _arrange(self) -> None:
        self.set_class(self.view == PREDICTION, "-prediction")
        width, height = self.screen.size
        for widget in list(self.query_one(FieldRow).children)[-2:]:  # the field "common range" and its label
            widget.display = width >= MEDIUM
        self.set_class(width >= VAST[0] and height >= VAST[1], "-vast")

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
        panel, array = self.query_one(TilePanel), self._array(self.view)
        if array is None:
            panel.show_reason(self.view, self._reason_for_no_tiles(reply))
            return
        total, what = array.shape[0], "head" if self.view == "attention" else "kernel"
        name = reply.layer or "the network"
        if self.view == "attention":
            sides = zip(reply.pixel, array.shape[1:], reply.image.shape, strict=True)
            name = "position {}, {}".format(*(at * new // old for at, new, old in sides))
        elif self.view == "kernels":
            total = reply.kernel_count
        else:
            total, what = self._output_shape(reply)[0], "channel"
        common = self.query_one("#common", Switch).value
        panel.show(Tiles(self.view, name, what, total, array), common=common)

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
        width, height = reply.noisy.shape[1], reply.noisy.shape[0]
        self.query_one("#boards", PicturePanel).set_titles(
            f"input, receptive field and prediction, {height}x{width}",
            "input, field, prediction",
            notes=("←→↑↓ move the pixel", ""),
            key="v" if self.view == PREDICTION else "",
        )
        skips = "" if self.query_one("#skips", Switch).value else ", no skips"
        color = "$accent" if self.query_one("#prediction").has_focus else ""
        caption = Content.assemble((f"predicted {row_}, {column}{skips}", color))
        self._set_image_caption("prediction", caption)

    def _set_image_caption(self, name: str, text: str | Content) -> None:
        parent = self.query_one(f"#{name}").parent
        assert isinstance(parent, Widget)
        parent.query_one(".caption", Static).update(text, layout=False)

    def panels(self) -> list[ExportPanel]:
        """The noisy image, the prediction, the receptive field, and the tiles as one image."""
        reply = self.shown
        if reply is None:
            return []
        side = reply.image.shape[0], reply.image.shape[1]
        panels = [
            ExportPanel("noisy", side, from_unit(reply.noisy.values)),
            ExportPanel("prediction", side, from_unit(reply.prediction.values)),
            ExportPanel("field", side, normalized(reply.receptive_field.values)),
        ]
        view = self.view if self._array(self.view) is not None else "maps"
        tiles = self._array(view)
        if tiles is not None:
            common = self.query_one("#common", Switch).value
            panels.append(tile_sheet(view, tiles.shape, scaled(tiles, tiles.shape[0], common=common)))
        return panels

    def script(self, subject: LabInput) -> list[str]:
        """Python that computes the layer table, the layer's maps, the prediction, and the receptive field."""
        return inside_script(subject, self.request(subject), self.shown)


def _captioned(name: str, canvas: ImageCanvas) -> Vertical:
    """A canvas under its caption."""
    return Vertical(Static(classes="caption", markup=False), canvas, id=name, classes="board")
