"""Training: the loop, one step, optimizers, the state that a run resumes from, and several processes.

It may import `core.evaluation` and what is below it.
"""
