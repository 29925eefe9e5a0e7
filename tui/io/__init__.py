"""Input of the UI: the engine's replies, run directories, and the devices.

No module here draws anything.
"""
