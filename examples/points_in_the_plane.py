"""Trains a small network on points in the plane, moves noise to data, and compares few steps with many."""

from torch import Tensor

from core.lab.plane import compare_steps, density_map, particle_steps, plane_points, train_plane, vector_field

ARROWS = "→↗↑↖←↙↓↘"


def shades(points: Tensor) -> list[str]:
    """The density of points as characters, from blank to @."""
    density = density_map(points, 48, 20)
    return ["".join(" .:-=+*#%@"[int(value * 9.99)] for value in row) for row in (density / density.max()).tolist()]


data = plane_points("two moons")
for record in train_plane(data, steps=400, every=100):
    print(f"step {record.step:4d}   loss {record.loss:.3f}   {record.elapsed:.1f} s")
model = record.model

steps = list(particle_steps(model, n=1000, steps=20))
for step in (steps[0], steps[10], steps[-1]):
    print(f"\n1000 particles at noise level t = {step.t:.1f}")
    print("\n".join(shades(step.points)))

print("\nthe direction in which they move at t = 0.5, for the class upper (left) and the class lower (right)")
fields = [vector_field(model, 0.5, 16, 8, label=label).vectors for label in (0, 1)]
directions = [(-field[..., 1]).atan2(-field[..., 0]).div(3.14159 / 4).round().long() % 8 for field in fields]
for rows in zip(*(direction.tolist() for direction in directions), strict=True):
    print("    ".join(" ".join(ARROWS[index] for index in row) for row in rows))

print("\nsteps   evaluations   energy distance to the data")
for result in compare_steps(model, data, (1, 2, 4, 8, 40)):
    print(f"{result.steps:5d}{result.evaluations:14d}{result.distance:19.4f}")
