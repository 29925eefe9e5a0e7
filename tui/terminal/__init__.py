"""Terminal output and input: images in character cells, frame pacing, the driver, and shutdown.

No module here depends on runs or models.
"""
