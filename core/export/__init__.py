"""What leaves the project: images, scripts, CSV tables, and models as folders of diffusers.

`images` loads no torch, so that the UI can use it.
"""
