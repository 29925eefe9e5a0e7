"""Datasets: IDX and CIFAR-10 files and their download, the drawn `glyphs` and `sprites`, and random shifts of images.

It may import `core.compute` and what is below it.
"""
