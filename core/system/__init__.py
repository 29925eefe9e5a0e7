"""The machine: devices, processes, signals, terminals, and files that are read with bounds and written atomically.

Nothing here knows of diffusion, runs or options. No module here may load torch. It may import `core.errors` and
`core.text`.
"""
