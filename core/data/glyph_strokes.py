"""Pen strokes of the ten digits, in several handwriting variants each, before random distortion."""

from __future__ import annotations

Point = tuple[float, float]
Curve = tuple[Point, ...]  # one smooth curve through these points; two curves that meet form a corner


class GlyphStrokes:
    """One variant of a digit.

    Args:
        weight: Relative frequency among the variants of the digit.
        aspect: Width over height of the bounding box.
        curves: `x,y` pairs in hundredths of the box, x to the right and y down; stored as fractions.
    """

    def __init__(self, weight: float, aspect: float, *curves: str) -> None:
        self.weight = weight
        self.aspect = aspect
        self.curves: tuple[Curve, ...] = tuple(_curve(text) for text in curves)


def _curve(text: str) -> Curve:
    pairs = (pair.split(",") for pair in text.split())
    return tuple((int(x) / 100, int(y) / 100) for x, y in pairs)


SKELETONS: tuple[tuple[GlyphStrokes, ...], ...] = (
    (  # 0: closed, with an overlap at the top, or left open there
        GlyphStrokes(5, 0.78, "56,2 22,14 3,52 18,88 50,99 83,84 97,45 80,10 50,1 36,7"),
        GlyphStrokes(2, 0.66, "72,10 40,3 10,35 6,72 36,99 74,86 94,46 82,12 55,0"),
        GlyphStrokes(2, 0.9, "40,5 12,25 4,62 30,96 70,95 96,62 88,22 60,2 30,10"),
    ),
    (  # 1: a plain stroke, with a flag, with a flag and a foot
        GlyphStrokes(7, 0.2, "55,0 50,33 48,66 45,100"),
        GlyphStrokes(2, 0.42, "5,24 35,13 62,0", "62,0 60,35 60,68 58,100"),
        GlyphStrokes(1, 0.55, "15,22 36,13 55,0", "55,0 54,35 53,68 52,97", "8,98 50,98 96,96"),
    ),
    (  # 2: with a corner at the foot, with a loop there, and in one round sweep
        GlyphStrokes(4, 0.76, "8,24 24,5 56,0 82,16 76,44 44,74 6,98", "6,98 34,94 64,96 98,95"),
        GlyphStrokes(4, 0.84, "10,18 34,1 66,3 80,24 66,54 40,82 16,96 4,88 16,76 40,82 66,96 98,88"),
        GlyphStrokes(1, 0.8, "4,12 40,4 78,2 90,16 60,52 34,74 4,94", "4,94 36,92 70,94 98,96"),
        GlyphStrokes(2, 0.7, "12,30 20,8 52,0 84,12 84,38 56,66 24,88 10,97", "10,97 40,100 70,97 94,84"),
    ),
    (  # 3: round, flat-topped, and with a little loop at the waist
        GlyphStrokes(5, 0.7, "8,14 34,0 70,3 84,20 68,40 36,47", "36,47 74,52 94,72 76,94 40,100 4,88"),
        GlyphStrokes(2, 0.68, "6,6 44,4 84,2", "84,2 60,24 40,42", "40,42 78,48 94,70 74,94 40,100 4,90"),
        GlyphStrokes(2, 0.7, "10,16 38,0 76,6 80,28 52,46 34,50 34,43 50,43 84,58 90,80 60,99 24,98 2,84"),
    ),
    (  # 4: open, closed, and with a rounded elbow
        GlyphStrokes(5, 0.72, "16,4 10,28 6,53", "6,53 36,55 66,52 98,46", "80,2 74,34 70,66 66,100"),
        GlyphStrokes(2, 0.78, "70,0 46,26 24,46 3,66", "3,66 34,66 66,65 98,62", "70,0 69,34 67,68 66,100"),
        GlyphStrokes(3, 0.68, "14,3 6,26 10,48 34,54 64,46 80,34", "84,2 80,34 74,66 68,100"),
        GlyphStrokes(1, 0.74, "30,0 22,26 4,54", "4,54 34,60 66,58 98,54", "66,34 60,56 56,78 50,100"),
    ),
    (  # 5: hat drawn last, in one stroke, and curved like an S
        GlyphStrokes(4, 0.74, "24,6 20,24 14,44", "14,44 44,36 78,48 86,72 66,94 34,100 2,90", "23,6 58,5 97,0"),
        GlyphStrokes(3, 0.7, "94,2 60,5 26,6", "26,6 20,24 16,42", "16,42 46,38 76,50 84,74 62,95 30,99 3,88"),
        GlyphStrokes(2, 0.72, "96,3 62,2 32,8 18,26 34,42 64,52 80,72 62,95 30,100 4,90"),
    ),
    (  # 6: round with a curl, with a straight back, and slim
        GlyphStrokes(4, 0.68, "72,0 40,14 14,44 6,76 30,98 68,95 90,74 72,54 40,56 14,74"),
        GlyphStrokes(3, 0.58, "50,0 28,24 12,50 6,80 34,99 76,90 92,68 66,52 32,64 18,82"),
        GlyphStrokes(2, 0.72, "88,5 56,4 24,28 6,60 18,92 54,100 84,84 80,62 50,52 16,66"),
    ),
    (  # 7: plain, barred, with a hook at the left, and with a rounded shoulder
        GlyphStrokes(5, 0.68, "4,8 34,6 64,4 94,2", "94,2 72,34 54,66 42,100"),
        GlyphStrokes(2, 0.7, "4,8 34,5 64,3 94,3", "94,3 72,34 52,66 38,100", "26,53 54,50 86,48"),
        GlyphStrokes(2, 0.7, "6,24 6,14 10,5", "10,5 40,6 68,5 94,2", "94,2 74,30 58,64 50,100"),
        GlyphStrokes(3, 0.66, "2,16 30,4 64,2 90,10 86,32 66,64 50,100"),
    ),
    (  # 8: one stroke from the upper right, two rings, and open at the top
        GlyphStrokes(5, 0.62, "80,14 48,0 16,12 22,34 54,48 86,68 78,92 44,100 12,86 20,64 52,47 82,26 76,10"),
        GlyphStrokes(2, 0.62, "50,47 18,36 18,10 52,0 82,12 80,36 48,47", "50,47 12,60 6,86 46,100 88,88 88,60 46,47"),
        GlyphStrokes(3, 0.64, "94,8 56,0 16,10 16,30 48,46 74,66 68,92 36,100 10,84 24,62 56,42 90,14"),
    ),
    (  # 9: ring and straight stem, in one stroke, and with a curled tail
        GlyphStrokes(4, 0.62, "84,12 52,0 16,14 8,38 36,50 70,38 88,12", "88,12 84,40 78,70 72,100"),
        GlyphStrokes(3, 0.62, "82,20 62,2 26,6 6,30 26,48 60,42 82,20 86,14 80,48 66,76 50,100"),
        GlyphStrokes(3, 0.64, "86,16 54,0 14,14 8,40 40,50 74,36 88,14", "88,14 90,46 82,76 54,98 14,94"),
    ),
)
