"""How close samples are to real images: distances between features of a classifier, and `evaluate()`.

It may import `core.diffusion` and what is below it.
"""
