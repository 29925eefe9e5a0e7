"""The Python code that computes what the inside bench shows."""

from __future__ import annotations

from core.engine.lab_messages import InsideReply, InsideRequest
from tui.lab.lab_input import LabInput

FIELD_THRESHOLD = 0.01  # of the strongest gradient, from which a pixel counts as part of a receptive field


def inside_script(subject: LabInput, request: InsideRequest, reply: InsideReply | None) -> list[str]:
    """Lines of Python that compute the layer table, the layer's maps, the prediction, and the receptive field."""
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
