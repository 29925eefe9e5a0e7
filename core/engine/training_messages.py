"""The messages of the training bench between the UI and the engine. Nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.engine.protocol import Array, LabReply, LabRequest

MAX_STEPS = 500
MAX_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest(LabRequest):
    """Take training steps on the image, with a copy of the network; the reply has one part for each step."""

    steps: int  # after the first one; 0 to `MAX_STEPS`
    batch_size: int  # noise levels per step, 1 to `MAX_BATCH`
    t: float | None  # noise level of the first one, with the same noise in every step; None: drawn
    learning_rate: float | None  # None: the weights do not change


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReply(LabReply):
    """What one step computes; see `core.lab.TrainingStep`. Images are in the value range of the model's path."""

    step: int  # from 0
    steps: int
    condition: int | None  # class given to the network, -1 for no class; None: it is unconditional
    drawing_read: tuple[int, int] | None  # class and confidence in percent that the classifier read in a drawing
    prediction: str  # what the network predicts: clean, noise, velocity or v
    value_range: tuple[float, float]  # of clean images
    keeps_noise: bool  # whether noise level and noise are the same in every step
    batch_size: int
    t: float
    alpha: float  # coefficient of the image
    sigma: float  # coefficient of the noise
    weight: float  # of the squared errors
    loss: float  # of the images below
    batch_loss: float  # whose gradient is taken
    gradient_norm: float
    image: Array  # (H, W, C), as the next four
    noise: Array
    noisy: Array
    target: Array
    output: Array
    errors: Array  # (H, W): weighted squared errors, mean of the channels
    layers: tuple[str, ...]  # names of the L layers with weights
    gradients: Array  # (L, 2): norm of a layer's gradient and of its weights
    bins: Array  # (K, 3): middle of a range of noise levels, mean and standard deviation of the losses in it
    first_bins: Array  # (K, 3): the same of the given weights; empty if the weights do not change
