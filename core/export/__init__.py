"""What leaves the project: images, charts, scripts, CSV tables, and models as folders of diffusers.

`images` and `charts` load no torch, so that the UI can use them.
"""
