"""Networks and their weights files.

Networks map noisy images, (B, C, H, W), to a prediction of the same shape; `core.diffusion` interprets the prediction.
It may import `core.compute` and what is below it.
"""
