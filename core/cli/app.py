"""The application `minidiff` and the options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from core import __version__
from core.config.sampling import SamplingOptions
from core.system.signals import loading

if TYPE_CHECKING:
    from core.models.custom import Network

app = App(
    name="minidiff",
    help="Train, monitor and sample small diffusion models. The terminal UI is `minidiff-tui`.",
    version=__version__,
    default_parameter=Parameter(negative_iterable=(), consume_multiple=True, show_env_var=False),
)
Root = Annotated[Path | None, Parameter(help="folder with the runs; default: $MINIDIFF_HOME, else ./checkpoints")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="print JSON instead of a table")]
JsonEvents = Annotated[
    bool, Parameter(name="--json", negative=(), help="only print JSON: each event as a line, as in events.jsonl")
]
Label = Annotated[
    str | None,
    Parameter(name="--class", help="name or number, from 0; -1: unconditional; default: cycle through all classes"),
]
Steps = Annotated[int | None, Parameter(help="sampling steps; default: depends on the model")]
Options = Annotated[SamplingOptions | None, Parameter(name="*")]
Device = Annotated[str | None, Parameter(help="auto, cpu, cuda, cuda:N or mps")]
OwnNetwork = Annotated[
    str | None,
    Parameter(name="--model", help="module:Class of a network of your own that the run was trained with; imported"),
]


def import_network(name: str | None) -> Network | None:
    """Import a network of the user's own, named by --model."""
    if name is None:
        return None
    with loading():
        from core.models import custom

    return custom.import_network(name)
