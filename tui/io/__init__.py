"""What the UI hears of: the engine's replies, run directories, and the machine's devices.

No module here draws anything.
"""
