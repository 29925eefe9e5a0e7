"""Datasets: published files and their download, drawn `glyphs` and `sprites`, the user's own images, and augmentation.

It may import `core.compute` and what is below it.
"""
