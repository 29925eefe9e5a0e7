"""Datasets: IDX files and their download, the drawn digits `glyphs`, and random shifts of images.

It may import `core.compute` and what is below it.
"""
