"""What numbers depend on besides the options: devices, random seeds, precision, memory and torch's own settings.

Nothing here knows of images, networks or training. It may import `core.runs` and what is below it.
"""
