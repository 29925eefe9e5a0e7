"""Options of training and sampling, presets, and the published datasets.

Everything a user can set is defined here once; the command line, the form, config files and the documentation derive
from it. No module here may load torch. It may import `core.system`, `core.errors` and `core.text`.
"""
