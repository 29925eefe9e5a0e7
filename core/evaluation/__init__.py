"""Sample quality: distances between classifier features of samples and real images, and `evaluate()`.

It may import `core.diffusion` and what is below it.
"""
