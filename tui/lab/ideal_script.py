"""Python that computes what the ideal denoiser's bench shows."""

from __future__ import annotations

from core.engine.ideal_messages import TRAINING_IMAGES, IdealReply, IdealRequest
from tui.lab.lab_input import LabInput


def ideal_script(subject: LabInput, request: IdealRequest, reply: IdealReply | None, position: int) -> list[str]:
    """Lines of Python that compute the predictions at a noise level, the samples and their nearest training images.

    Args:
        subject: The image and the model.
        request: What is computed.
        reply: What is shown; None: nothing yet.
        position: Index of the noise level.
    """
    label, dataset, t, steps, count = request.label, subject.dataset, 0.5, 40, TRAINING_IMAGES
    limit = ""
    if reply is not None:
        label, dataset, t = reply.condition, reply.dataset, reply.noise_levels[position]
        steps, count = len(reply.noise_levels) - 1, min(TRAINING_IMAGES, reply.count)
        limit = f", limit={reply.total}"
    options = f"seed={request.seed}" + ("" if label is None else f", label={label}")
    local, names = "", "(ideal, model)"
    if request.patch is not None and reply is not None:
        local, names = ", local=local", "(ideal, model, local)"
    lines = [
        "from core import ideal_model, load_dataset, load_model, nearest_training_images",
        "from core.lab import ideal_sweep, sample_together",
        *subject.script,
        f'model = load_model("{subject.model}", device="cpu")',
        f"training = load_dataset({dataset!r}{limit})",
        "ideal = ideal_model(model.config, *training)",
    ]
    if local:
        assert reply is not None
        chosen, first = "", f"[:{reply.patch_images}]"
        if label is not None and label >= 0:
            lines.append(f"chosen = training.labels == {label}")
            chosen = "[chosen]"
        parts = f"training.images{chosen}{first}, training.labels{chosen}{first}"
        lines.append(f"local = ideal_model(model.config, {parts}, patch={request.patch})")
    lines += [
        f"for point in ideal_sweep(model, ideal, {subject.model_image}, [{t}]{local}, k={count}, {options}):",
        '    print("t", point.t, "effective number of training images", point.effective)',
        '    print("ideal", point.ideal_error, "network", point.network_error)',
        *(['    print("local patches", point.local_error)'] if local else []),
        "    for index, weight in zip(point.indices.tolist(), point.weights.tolist(), strict=True):",
        '        print("training image", index, "weight", weight)',
        f"*_, ends = sample_together({names}, {steps}, {options})",
        f"for name, end in zip({('ideal', 'network', 'local') if local else ('ideal', 'network')}, ends, strict=True):",
        "    nearest = nearest_training_images(end.x, training.images)",
        '    print(name, "sample: training image", int(nearest.indices), "distance", float(nearest.distances))',
    ]
    return lines
