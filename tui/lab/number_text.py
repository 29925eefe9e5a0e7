"""Numbers as short texts."""

from __future__ import annotations


def short(value: float) -> str:
    """A number from 0 with two significant digits, in at most five characters: 0, .031, 1.2, 310, 3e-5."""
    if value >= 9.95e4 or 0 < value < 9.95e-4:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    if value >= 9.95:
        return f"{value:.0f}"
    return f"{value:.2g}".removeprefix("0") or "0"


def decimals(value: float, places: int) -> str:
    """A number from 0 with so many decimal places, without the 0 before its point."""
    return f"{value:.{places}f}".removeprefix("0")


def coefficient(value: float) -> str:
    """A number from 0 to 1 with two decimal places, without the 0 before its point; 1 from .995."""
    return "1" if value >= 0.995 else decimals(value, 2)


def count_of(n: int, unit: str) -> str:
    """A number and its unit: 1 step, 2 steps."""
    return f"{n} {unit}" + "s" * (n != 1)


def number(value: float) -> str:
    """A number in at most five characters: 0, .25, -1, 12.5, -313."""
    if abs(value) < 5e-4:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text
    return text if text not in ("", "-", "-0") else "0"
