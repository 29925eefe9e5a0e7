"""A race: several configs trained side by side on the same batches and noise, compared in pairs, losers stopped early.

It may import `core.training`, `core.evaluation` and what is below them.
"""
