"""The machine: devices, processes, signals, the terminal, and bounded and atomic file I/O.

Nothing here depends on diffusion, runs or options. No module here may load torch. It may import `core.errors` and
`core.text`.
"""
