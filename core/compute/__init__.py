"""Device, random seeds, precision, memory and torch's settings.

Independent of images, networks and training. It may import `core.runs` and what is below it.
"""
