"""Python that computes what the training bench shows."""

from __future__ import annotations

from core.engine.training_messages import TrainingReply, TrainingRequest
from tui.lab.lab_input import LabInput


def training_script(subject: LabInput, request: TrainingRequest, reply: TrainingReply | None) -> list[str]:
    """Lines of Python that take the steps up to one of them, and print its losses and gradients.

    Args:
        subject: The image and the model.
        request: What is computed.
        reply: The step; None: the first one.
    """
    options = [f"batch_size={request.batch_size}", f"seed={subject.seed}"]
    if request.t is not None:
        options.append(f"t={request.t}")
    if reply is not None and reply.condition is not None:
        options.append(f"label={reply.condition}")
    if request.learning_rate is not None:
        options.append(f"learning_rate={request.learning_rate}")
    steps = 0 if reply is None else reply.step
    lines = [
        "from core import load_model, training_steps",
        *subject.script,
        f'model = load_model("{subject.model}", device="cpu")',
        f"for record in training_steps(model, {subject.model_image}, {steps}, {', '.join(options)}):",
        '    print("step", record.step, "t", record.t, "loss", record.loss, "mean loss", record.batch_loss)',
        "for layer in record.gradients:",
        '    print("gradient", layer.name, layer.norm, "relative", layer.relative)',
        "for part in record.bins:",
        '    print("t from", part.low, "to", part.high, "mean loss", part.mean, "std", part.std)',
    ]
    if request.learning_rate is not None:
        lines += [
            "for part in record.first_bins:",
            '    print("before: t from", part.low, "to", part.high, "mean loss", part.mean, "std", part.std)',
        ]
    return lines
