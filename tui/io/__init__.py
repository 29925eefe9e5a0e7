"""Input of the UI: the engine's replies, run directories, the devices, and what another app shows; and its web server.

No module here draws anything.
"""
