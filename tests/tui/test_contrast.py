"""Text in a terminal of 256 colors: readable in every theme, and in the nearest colors."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from tui.app import MinidiffApp
from tui.settings import ALL_THEMES, Settings
from tui.terminal.cells import RGB
from tui.terminal.contrast import DIM, TEXT, PaletteFilter, contrast, nearest
from tui.themes import THEMES
from tui.widgets.header import Header

OWN = {theme.name: theme for theme in THEMES}
COLORS = ("foreground", "primary", "accent", "success", "warning", "error")
TEXT_COLORS = ("text-accent", "text-success", "text-warning", "text-error")


def shown(color: RichColor | None) -> RGB:
    """What a terminal of 256 colors shows for a color that Rich reduces."""
    assert color is not None
    return color.downgrade(ColorSystem.EIGHT_BIT).get_truecolor()


def test_the_contrast_is_that_of_the_definition() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == 21
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.005)  # a known limit of 4.5


@pytest.mark.parametrize("color", [(18, 18, 18), (208, 208, 208), (95, 175, 255), (255, 175, 95), (175, 0, 0)])
def test_colors_of_the_palette_stay_as_they_are_and_rich_keeps_what_it_is_given(color: RGB) -> None:
    """The themes of the app have such colors only. The grays of Rich differ from those of terminals by up to 2."""
    assert max(abs(a - b) for a, b in zip(shown(RichColor.from_rgb(*nearest(color))), color, strict=True)) == 0


@pytest.mark.parametrize(
    ("color", "background", "expected"),
    [
        ((26, 27, 38), None, (28, 28, 28)),  # Rich: black
        ((66, 76, 94), None, (78, 78, 78)),  # Rich: #5f5f5f
        ((78, 191, 113), (220, 220, 220), (0, 95, 0)),  # green stays green, though darker
        ((64, 120, 242), (255, 255, 255), (0, 95, 215)),
    ],
)
def test_a_color_is_replaced_by_a_similar_one(color: RGB, background: RGB | None, expected: RGB) -> None:
    found = nearest(color) if background is None else nearest(color, nearest(background), TEXT)
    assert shown(RichColor.from_rgb(*found)) == expected


@pytest.mark.parametrize("name", [name for name in ALL_THEMES if not name.startswith("ansi-")])
def test_text_and_dim_text_are_readable_in_every_theme(name: str) -> None:
    variables = (OWN.get(name) or BUILTIN_THEMES[name]).to_color_system().generate()
    foreground = Color.parse(variables["foreground"])
    reduce = PaletteFilter(foreground.rgb)
    for background in (Color.parse(variables[part]) for part in ("background", "surface", "panel")):
        behind = Color.parse(variables["background"]) + background
        colors = [(Color.parse(variables[part]), TEXT) for part in (*COLORS, *TEXT_COLORS)]
        colors += [(behind + foreground.with_alpha(opacity), DIM) for opacity in (0.4, 0.5, 0.6, 0.7)]
        colors.append((behind + behind.get_contrast_text(0.6), DIM))  # "auto 60%", $text-muted
        for color, minimum in colors:
            style = Style(color=color.rich_color, bgcolor=behind.rich_color)
            for _, new, _ in reduce.apply([Segment("text", style), Segment("?", style)], behind):
                assert new is not None
                assert contrast(shown(new.color), shown(new.bgcolor)) >= minimum, (color, behind)


def test_lines_keep_their_contrast_and_a_text_that_is_readable_its_color() -> None:
    reduce = PaletteFilter((208, 208, 208))
    style = Style(color=RichColor.from_rgb(58, 58, 58), bgcolor=RichColor.from_rgb(18, 18, 18), bold=True)
    other = Style(color=RichColor.from_rgb(255, 175, 95), meta={"a": 1})
    line, text = reduce.apply([Segment("──", style), Segment("1", other)], Color(18, 18, 18))
    assert line.style is not None
    assert text.style is not None
    assert (shown(line.style.color), shown(line.style.bgcolor), line.style.bold) == ((58, 58, 58), (18, 18, 18), True)
    assert (shown(text.style.color), text.style.bgcolor, text.style.meta) == ((255, 175, 95), None, {"a": 1})


@pytest.mark.parametrize(("colorterm", "is_reduced"), [("", True), ("truecolor", False)])
async def test_the_app_reduces_colors_only_where_it_has_to(
    colorterm: str, is_reduced: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", colorterm)
    app = MinidiffApp(tmp_path, mode="devices", settings=Settings(theme="tokyo-night"))
    async with app.run_test():
        header = app.screen.query_one(Header)
        (strip,) = header.render_lines(header.size.region)
        styles = [segment.style for segment in strip if segment.style]
        colors = {style.color.triplet for style in styles if style.color} | {
            s.bgcolor.triplet for s in styles if s.bgcolor
        }
    assert colors
    assert all(color and nearest(color) == color for color in colors) == is_reduced
