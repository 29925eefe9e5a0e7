"""The app's themes: dark, light, high contrast and color-blind safe, all from the 256-color table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from core.runs.status import Status

# Theme variable of each run status.
STATUS_COLORS = {
    Status.RUNNING: "success",
    Status.STARTING: "primary",
    Status.PAUSED: "warning",
    Status.FINISHED: "success",
    Status.STOPPED: "muted",
    Status.INTERRUPTED: "warning",
    Status.FAILED: "error",
    Status.ELSEWHERE: "primary",
    Status.UNREADABLE: "error",
    Status.PIPELINE: "primary",
}


def _theme(name: str, *, dark: bool, **colors: str) -> Theme:
    """Create a theme; the colors of footer, cursors and plots derive from `colors`."""
    variables = {
        "footer-background": colors["surface"],
        "footer-key-foreground": colors["primary"],
        "footer-description-foreground": colors["muted"],
        "block-cursor-background": colors["cursor"],
        "block-cursor-foreground": "#ffffff",
        "input-cursor-background": colors["primary"],
        "border": colors["primary"],
        "border-blurred": colors["line"],
        "muted": colors["muted"],
        "plot-axes": colors["muted"],
        "plot-window": colors["faint"],
        "plot-smoothed": colors["foreground"],
        "plot-average": colors["primary"],
        "plot-validation": colors["accent"],
        "plot-run-3": colors["success"],
        "plot-run-4": colors["error"],
        "plot-run-5": colors["warning"],
        "plot-run-6": colors["secondary"],
    }
    return Theme(
        name=name,
        dark=dark,
        primary=colors["primary"],
        secondary=colors["secondary"],
        accent=colors["accent"],
        foreground=colors["foreground"],
        background=colors["background"],
        surface=colors["surface"],
        panel=colors["panel"],
        success=colors["success"],
        warning=colors["warning"],
        error=colors["error"],
        variables=variables,
    )


# All colors are in the 256-color table, so themes look the same over SSH, which drops COLORTERM.
DARK = _theme(
    "minidiff-dark",
    dark=True,
    primary="#5fafff",
    secondary="#87afd7",
    accent="#ffaf5f",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    success="#87d787",
    warning="#ffd75f",
    error="#ff5f5f",
    muted="#9e9e9e",
    cursor="#005f87",
    line="#3a3a3a",
    faint="#4e4e4e",
)
LIGHT = _theme(
    "minidiff-light",
    dark=False,
    primary="#005faf",
    secondary="#5f87af",
    accent="#af5f00",
    foreground="#262626",
    background="#ffffff",
    surface="#eeeeee",
    panel="#e4e4e4",
    success="#008700",
    warning="#875f00",
    error="#af0000",
    muted="#626262",
    cursor="#005faf",
    line="#b2b2b2",
    faint="#b2b2b2",
)
CONTRAST = _theme(
    "minidiff-contrast",
    dark=True,
    primary="#87d7ff",
    secondary="#ffffff",
    accent="#ffd700",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#303030",
    success="#5fff5f",
    warning="#ffff00",
    error="#ff8787",
    muted="#e4e4e4",
    cursor="#0000d7",
    line="#bcbcbc",
    faint="#a8a8a8",
)
# Based on the palette of Okabe and Ito (2008), distinguishable with all common forms of color blindness.
SAFE = _theme(
    "minidiff-safe",
    dark=True,
    primary="#5fafd7",
    secondary="#87afd7",
    accent="#d7af00",
    foreground="#d0d0d0",
    background="#121212",
    surface="#1c1c1c",
    panel="#262626",
    success="#5fafd7",
    warning="#ffd75f",
    error="#d75f00",
    muted="#9e9e9e",
    cursor="#005f87",
    line="#3a3a3a",
    faint="#4e4e4e",
)
THEMES = (DARK, LIGHT, CONTRAST, SAFE)


def theme_color(variables: Mapping[str, str], name: str) -> Color:
    """Return the color of a theme variable; themes without it fall back to `DARK`."""
    return Color.parse({**DARK.variables, **variables}[name])


def theme_style(variables: Mapping[str, str], name: str) -> Style:
    """Return the color of a theme variable as a Rich style."""
    return Style(color=theme_color(variables, name).rich_color)
