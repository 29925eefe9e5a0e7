"""A run on disk: its events, history, lock, requests and files, and the processes that train it.

The run directory is the only interface between a trainer and the UI. No module here may load torch. It may import
`core.config` and `core.system`.
"""
