"""Probability paths, corruption, samplers and `sample()`.

It may import `core.models`, `core.data` and what is below them.
"""
