"""Check of the learning rate, from the gradients of parts of a batch and one step of the optimizer."""

from __future__ import annotations

import math

from core.runs.findings import Finding

LEARNING_RATE = "learning rate"

TOO_LARGE, TOO_SMALL = 0.1, 3e-5  # update, relative to the weights
WORSE = 2.0  # loss after one step, relative to before
NOISE = 50.0  # batch sizes of gradient noise, up to which a larger step would help


def check_learning_rate(
    update_ratio: float, before: float, after: float, noise_scale: float, batch_size: int, learning_rate: float
) -> list[Finding]:
    """A peak learning rate whose steps are too large or too small for the weights.

    About a thousandth of the weights per step is usual (Karpathy, CS231n, "Neural networks part 3"); Muon takes larger
    steps in its hidden layers, up to some hundredths. Too large: a tenth, or a single step that doubles the loss. Too
    small: less than 0.003%, while the gradient noise scale (McCandlish et al. 2018) is below 50 batches. Then gradients
    still agree, and larger steps would help; with more noise, small steps are right, as at the end of a training.

    Args:
        update_ratio: Root mean square of an update, relative to the weights.
        before: The loss of a batch.
        after: Its loss after one step at the peak learning rate.
        noise_scale: Batch size at which the gradient's noise is as large as the gradient; may be infinite.
        batch_size: Of the training.
        learning_rate: The peak learning rate.
    """
    if not math.isfinite(before):
        return []
    noise = f"{noise_scale:,.0f} images" if math.isfinite(noise_scale) else "too large to measure"
    measured = f"a step at learning rate {learning_rate:g} changes the weights by {update_ratio:.2%}"
    if update_ratio > TOO_LARGE or not after <= WORSE * before:
        return [
            Finding(
                LEARNING_RATE,
                "error",
                f"{measured} and the loss of a batch from {before:.4f} to {after:.4f}",
                "the learning rate is too high for this network and optimizer",
                "lower --learning-rate to a third until the loss falls steadily, or use a longer --warmup-steps",
            )
        ]
    if update_ratio < TOO_SMALL and noise_scale < NOISE * batch_size:
        return [
            Finding(
                LEARNING_RATE,
                "warning",
                f"a step at learning rate {learning_rate:g} changes the weights by {update_ratio:.5%}; gradient noise "
                f"scale {noise}, batch size {batch_size:,}",
                "the learning rate is too low: training takes many more steps than necessary",
                "raise --learning-rate by a factor of 10; about 0.1% of the weights per step is usual",
            )
        ]
    return []
