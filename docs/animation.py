"""Several exported screens as one animated SVG, for `make_pictures.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One screen, as an SVG, and how long it is shown."""

    svg: str
    seconds: float


def animated(scenes: Sequence[Scene]) -> str:
    """An SVG that shows the scenes one after another, forever; the first where animations are off.

    All scenes must have the same size.
    """
    sizes = {_view_box(scene.svg) for scene in scenes}
    if len(sizes) != 1:
        raise ValueError(f"scenes of different sizes: {', '.join(sorted(sizes))}")
    total = sum(scene.seconds for scene in scenes)
    rules, bodies, start = [], [], 0.0
    for number, scene in enumerate(scenes):
        begin, end = 100 * start / total, 100 * (start + scene.seconds) / total
        start += scene.seconds
        hidden, visible = "visibility:hidden", "visibility:visible"
        times = [(0.0, visible if number == 0 else hidden), (begin, visible), (end, hidden)]
        steps = "".join(f"{time:.3f}%{{{state}}}" for time, state in dict(times).items() if time < 100)
        rules.append(f"@keyframes scene{number}{{{steps}}}")
        initial = visible if number == 0 else hidden
        rules.append(f".scene{number}{{{initial};animation:scene{number} {total:g}s step-end infinite}}")
        bodies.append(re.sub(r'<svg class="([^"]*)"', rf'<svg class="\1 scene{number}"', scene.svg, count=1))
    still = "@media (prefers-reduced-motion:reduce){svg svg{animation:none !important}}"
    style = f"<style>{''.join(rules)}{still}</style>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{sizes.pop()}">{style}{"".join(bodies)}</svg>\n'


def _view_box(svg: str) -> str:
    match = re.search(r'viewBox="([^"]+)"', svg)
    if match is None:
        raise ValueError("an SVG without a view box")
    return match[1]
