"""Networks, and the files that hold their weights.

Each maps noisy images, (B, C, H, W), to a prediction of the same shape; how a prediction is meant is a matter of
`core.diffusion`. It may import `core.compute` and what is below it.
"""
