"""The process that samples and computes the Lab for the UI, over pipes.

It may import everything in `core` but `core.cli`.
"""
