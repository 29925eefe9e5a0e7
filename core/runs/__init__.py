"""A run on disk: its events, history, lock, requests and files, and the processes that train it.

A run directory is the only thing that a trainer and the UI share. No module here may load torch. It may import
`core.config` and `core.system`.
"""
