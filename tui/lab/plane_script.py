"""Python that computes what the 2-D bench shows."""

from __future__ import annotations

from core.config.plane import POINT_SETS
from core.engine.plane_messages import PlaneRequest
from core.engine.protocol import TEST_IMAGES, DrawnImage


def plane_script(request: PlaneRequest, t: float) -> list[str]:
    """Lines of Python.

    Args:
        request: What is computed.
        t: Noise level of the vector field.
    """
    names = ["particle_steps", "train_plane", "vector_field", *(["compare_steps"] if request.compare else [])]
    imports = list[str]()
    match request.points:
        case DrawnImage(pixels=pixels):
            imports, names = ["import torch", ""], [*names, "drawn_points"]
            data = [
                f'drawn = bytearray.fromhex("{pixels}")',
                "image = torch.frombuffer(drawn, dtype=torch.uint8).reshape(28, 28) / 255",
                "data = drawn_points(image)",
            ]
        case points if points in POINT_SETS:
            names = [*names, "plane_points"]
            data = [f"data = plane_points({points!r})"]
        case dataset:
            imports = ["from core import load_dataset", "from core.config.datasets import INFO"]
            names = [*names, "principal_points"]
            data = [
                f"images = load_dataset({dataset!r}, split='test', limit={TEST_IMAGES})",
                f"data = principal_points(*images, INFO[{dataset!r}].class_names)",
            ]
    training = f"path={request.path!r}, prediction={request.prediction!r}, steps={request.training_steps}"
    label = "" if request.label is None else f", label={request.label}"
    guidance = "" if request.guidance == 1 and request.against is None else f", guidance={request.guidance:g}"
    against = "" if request.against is None else f", against={request.against}"
    columns, rows = request.field
    sampling = f"sampler={request.sampler!r}{label}{guidance}"
    lines = [
        *imports,
        f"from core.lab.plane import {', '.join(sorted(names))}",
        "",
        *data,
        f"*_, last = train_plane(data, {training}, seed={request.seed})",
        'print("loss", last.loss)',
        f"field = vector_field(last.model, {t!r}, {columns}, {rows}, kind={request.kind!r}{label}{guidance}{against})",
        'print("longest vector", float(field.vectors.norm(dim=-1).max()))',
        f"options = dict(n={request.n}, seed={request.particle_seed}, {sampling})",
        f"for step in particle_steps(last.model, steps={request.steps}{against}, **options):",
        '    print("t", step.t, "mean", step.points.mean(0).tolist())',
    ]
    if request.compare:
        lines += [
            f"for result in compare_steps(last.model, data, {request.compare}, **options):",
            '    print("steps", result.steps, "energy distance", result.distance)',
        ]
    return lines
