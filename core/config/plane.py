"""Sets of points in the plane, and limits of the 2-D bench; without torch."""

from __future__ import annotations

# Class names of each set of points.
POINT_SETS: dict[str, tuple[str, ...]] = {
    "two moons": ("upper", "lower"),
    "rings": ("inner", "middle", "outer"),
    "spiral": ("first arm", "second arm"),
    "checkerboard": ("top", "bottom"),
    "pinwheel": tuple(f"blade {number}" for number in range(1, 6)),
    "eight gaussians": ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast"),
}
DRAWING_CLASSES = ("left", "right")  # halves of a drawn shape
EXTENT = 1.5  # half the side of the square that the bench shows; the points lie in [-1, 1]
TRAINING_STEPS = 1200
MAX_TRAINING_STEPS = 20_000
MAX_PARTICLES = 10_000
MAX_CELLS = 40_000  # of a field or a density map
