"""Commands for this machine: devices, doctor and download."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from core.cli.app import Json, Root, app
from core.cli.tables import print_json, print_table, rounded
from core.errors import MinidiffError
from core.generators import WithResult
from core.runs import directory
from core.text import memory_size


@app.command
def devices(*, as_json: Json = False) -> None:
    """List the GPUs and the CPU with their memory, utilization, temperature and power."""
    from core.system.devices import list_devices

    infos = list_devices()
    if as_json:
        print_json([dataclasses.asdict(device) for device in infos])
        return
    print_table(
        ("device", "name", "memory used", "total", "utilization", "temperature", "power"),
        [
            (
                device.device or "hidden",
                device.name,
                memory_size(device.memory_used),
                memory_size(device.memory_total),
                rounded(device.utilization, "%"),
                rounded(device.temperature, "°C"),
                rounded(device.power, "W"),
            )
            for device in infos
        ],
    )


@app.command
def doctor(*, root: Root = None, as_json: Json = False) -> int:
    """Report versions, devices, data, terminal and known problems with fixes; exits with status 1 if there is one."""
    from core.cli import doctor as doctor_report

    report = doctor_report.report(directory.root_directory(root))
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        print("\n".join(doctor_report.lines(report)))
    return int(any(problem.level == "problem" for problem in report.problems))


@app.command
def download(
    dataset: Annotated[str, Parameter(help="mnist, fashion-mnist, kmnist, cifar10 or glyphs")] = "mnist",
    /,
    *,
    data_root: Annotated[Path | None, Parameter(help="folder to search and download to; default: the cache")] = None,
    as_json: Json = False,
) -> None:
    """Download a dataset to the user's cache or to --data-root, unless it is already there."""
    from core.cli.progress import event_display
    from core.data import datasets

    if dataset == "sprites":
        raise MinidiffError("sprites are drawn in memory when they are needed; there is nothing to download")
    if dataset == "glyphs" and data_root is not None:
        raise MinidiffError("glyphs are rendered into the user's cache, not downloaded; omit --data-root")
    search = WithResult(datasets.locate(dataset, data_root, download_to_root=True))
    with event_display() as display:
        for event in search:
            if not as_json:
                display.add(event)
    located = search.result
    if as_json:
        sha256 = located.sha256("train")
        print_json({"dataset": located.name, "directory": str(located.directory), "sha256": sha256})
    else:
        print(f"{located.name} is in {located.directory}")
