"""The process that samples and computes the Lab for the UI, over pipes.

`protocol` and `codec` are used by both sides and never load torch; `server` and `lab` may import everything in `core`
except `core.cli`.
"""
