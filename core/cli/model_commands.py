"""Commands for models: sample, eval, diagnose and export."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from core.cli.app import Json, Label, Options, OwnNetwork, Root, Steps, app, import_network
from core.cli.tables import print_json
from core.config.sampling import class_label
from core.config.training import TrackerName
from core.errors import MinidiffError
from core.runs import directory
from core.system.signals import loading
from core.text import sanitize

EDITING = Group.create_ordered("Editing")


@app.command
def sample(
    model: str = directory.BUILTIN[0],
    /,
    *,
    n: Annotated[int, Parameter(help="number of images, at most 100,000")] = 8,
    steps: Steps = None,
    options: Options = None,
    label: Label = None,
    seed: Annotated[int, Parameter(help="random seed of the noise")] = 0,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    output: Annotated[Path | None, Parameter(help="PNG grid of the samples; default: samples.png")] = None,
    figure: Annotated[Path | None, Parameter(help="PNG with one row per step")] = None,
    gif: Annotated[Path | None, Parameter(help="GIF of the denoising trajectory")] = None,
    history: Annotated[
        Path | None,
        Parameter(help="GIF, or PNG with one row per snapshot: the same noise sampled with every snapshot of the run"),
    ] = None,
    at_step: Annotated[int | None, Parameter(help="sample with the run's snapshot of this training step")] = None,
    output_dir: Annotated[
        Path | None, Parameter(help="new folder for one PNG per sample, 000000.png and so on")
    ] = None,
    show: Annotated[
        bool, Parameter(negative=(), help="show the samples in the terminal, as large as fits; in a pipe as ASCII")
    ] = False,
    start: Annotated[Path | None, Parameter(group=EDITING, help="image file to start from")] = None,
    noise_level: Annotated[
        float | None,
        Parameter(group=EDITING, help="noise added to --start, above 0 to 1; default: 0.6, with --mask 1"),
    ] = None,
    mask: Annotated[
        Path | None,
        Parameter(group=EDITING, help="image file: white where --start is replaced, black where it is kept"),
    ] = None,
    interpolate: Annotated[
        tuple[str, str] | None,
        Parameter(group=EDITING, help="two seeds or two image files to go from and to in --n images"),
    ] = None,
    mix: Annotated[
        tuple[str, ...] | None, Parameter(group=EDITING, help="classes with weights, such as 3:0.5 8:0.5")
    ] = None,
    network: OwnNetwork = None,
    root: Root = None,
) -> None:
    """Generate samples from a run, a built-in model (default-mnist), a .safetensors file or a diffusers folder.

    Image files are cropped at the center, resized to the model's size with a Lanczos filter, and converted to its
    channels. With --start or --interpolate the default is no class.
    """
    with loading():
        from core.cli import preview
        from core.cli.sampling import Editing, check_output_dir, generate, write_history
        from core.diffusion.loaded_model import find_model, find_run_of, load_model
        from core.export import images

    if output_dir is not None:
        output_dir = check_output_dir(output_dir)
    elif output is None and figure is None and gif is None and history is None and not show:
        output = Path("samples.png")
    for path, formats in (
        (output, images.FORMATS),
        (figure, images.FORMATS),
        (gif, images.GIF_FORMATS),
        (history, {**images.GIF_FORMATS, **images.FORMATS}),
    ):
        if path is not None:
            images.check_output(path, formats)
    net = import_network(network)
    editing = Editing(start, noise_level, mask, interpolate, mix or ())
    if history is not None:
        if editing != Editing():
            raise MinidiffError("--history starts from noise; leave out --start, --interpolate and --mix")
        run = find_run_of(model, directory.root_directory(root))
        written = write_history(
            history, run, n, seed, label=label, device=device, net=net, steps=steps, **(options or {})
        )
        print(f"wrote {written}")
        if not show and all(path is None for path in (output, figure, gif, output_dir)):
            return
    file = find_model(model, directory.root_directory(root), at_step)
    loaded = load_model(model, device, root, step=at_step, net=net)
    weights = "EMA" if loaded.config.ema else "online"
    details = "of diffusers" if loaded.schedule else f"step {loaded.step:,}, {weights} weights"
    print(sanitize(f"sampling from {loaded.name}: {file}, {details}"))
    every_step = figure is not None or gif is not None
    denoising = generate(
        loaded,
        n,
        seed,
        every_step=every_step,
        editing=editing,
        grid=output is not None or show,
        output_dir=output_dir,
        steps=steps,
        labels=None if label is None else class_label(label, loaded.config.info),
        **(options or {}),
    )
    if show and denoising is not None:
        preview.show(denoising)
    if output_dir is not None:
        print(f"wrote {n:,} images to {output_dir}")
    for path, write in ((output, images.write_grid), (figure, images.write_figure), (gif, images.write_gif)):
        if path is not None and denoising is not None:
            print(f"wrote {write(path, denoising)}")


@app.command(name="eval")
def eval_(
    model: str,
    /,
    *,
    n: Annotated[int, Parameter(help="number of samples, and of real images for the baseline")] = 10_000,
    steps: Steps = None,
    options: Options = None,
    seed: Annotated[int, Parameter(help="random seed of the noise")] = 0,
    cas: Annotated[bool, Parameter(negative=(), help="also train a classifier on the samples (CAS)")] = False,
    data_root: Annotated[Path | None, Parameter(help="folder with the dataset's files")] = None,
    limit: Annotated[int | None, Parameter(help="use only the first images of each split")] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    network: OwnNetwork = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model's samples against real images, beside a real-vs-real baseline."""
    with loading():
        from core.cli import evaluation
        from core.diffusion.loaded_model import load_model
        from core.evaluation.scores import evaluate

    loaded = load_model(model, device, root, net=import_network(network))
    events = evaluate(
        loaded,
        n,
        steps=steps,
        seed=seed,
        cas=cas,
        data_root=data_root,
        limit=limit,
        **(options or {}),
    )
    result = evaluation.follow(events, quiet=as_json)
    if as_json:
        print_json(dataclasses.asdict(result))
    else:
        tables = [*evaluation.table(result), *evaluation.memorisation_table(result)]
        print("\n".join([*tables, evaluation.loss_line(result), *evaluation.notes(result)]))


@app.command
def diagnose(
    run: Annotated[str, Parameter(help="a run, a built-in model or a .safetensors file")],
    /,
    *,
    n: Annotated[int, Parameter(help="number of samples; a quarter of them for large images")] = 128,
    steps: Steps = None,
    options: Options = None,
    data_root: Annotated[Path | None, Parameter(help="folder with the dataset's files")] = None,
    device: Annotated[str, Parameter(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    network: OwnNetwork = None,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Look for what is wrong with a training, its data or its samples, and say what to change.

    Takes some seconds on a CPU. The exit code is 1 if something was found.
    """
    with loading():
        from core.cli import diagnosis
        from core.diagnosis.api import diagnose_run

    began = time.monotonic()
    checks = diagnose_run(
        run, root, net=import_network(network), device=device, data_root=data_root, n=n, steps=steps, **(options or {})
    )
    results = diagnosis.follow(checks, quiet=as_json)
    seconds = time.monotonic() - began
    if as_json:
        print_json(diagnosis.as_record(run, results, seconds))
    else:
        diagnosis.show(sanitize(run), results, seconds)
    return 1 if diagnosis.findings_of(results) else 0


@app.command
def export(
    model: Annotated[str, Parameter(help="a run; for diffusers also a built-in model or a .safetensors file")],
    folder: Annotated[Path, Parameter(help="folder to write; for diffusers it must be new or empty")],
    /,
    *,
    to: Annotated[Literal["diffusers", TrackerName], Parameter(help="format")],
    network: OwnNetwork = None,
    root: Root = None,
) -> None:
    """Export a model as a folder that diffusers loads, or a run's curves and previews to a tracker."""
    folder = Path(os.path.expanduser(folder))
    if to != "diffusers":
        from core.export.trackers import export_events

        count = export_events(directory.find_run(model, directory.root_directory(root)), to, folder)
        print(f"wrote {count:,} events of {model} to {folder}")
        return
    with loading():
        from core.diffusion.loaded_model import load_model
        from core.export.diffusers_pipelines import describe_export, export_diffusers

    loaded = load_model(model, "cpu", root, net=import_network(network))
    print(f"wrote {export_diffusers(loaded, folder)}; {describe_export(loaded.config)}")
