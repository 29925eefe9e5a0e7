"""The terminal: images in character cells, the pace of frames, the driver, and what happens when it goes away.

No module here knows of runs or models.
"""
