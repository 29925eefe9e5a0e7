"""A race: several configs trained in turns on the same batches and noise, compared in pairs, and stopped if worse.

It may import `core.training`, `core.evaluation` and what is below them.
"""
