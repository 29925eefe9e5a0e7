"""Sampling for `minidiff sample`, in batches and with a progress bar if there are several."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.evaluation import progress_display
from core.config.numbers import whole_number
from core.config.sampling import MIN_NOISE_LEVEL, class_label, image_count, resolve_sampling
from core.config.training import TrainConfig
from core.data.input_image import read_image, read_mask
from core.diffusion.editing import class_mix, inpainting, unlabelled
from core.diffusion.frames import record, to_uint8
from core.diffusion.interpolation import interpolate_images, interpolate_seeds
from core.diffusion.sampling import SampleStep, batch_size, merged, sample_batches
from core.diffusion.snapshots import SnapshotSamples, record_snapshots, sample_snapshots
from core.errors import MinidiffError
from core.evaluation.reference import EvaluationProgress
from core.export.images import GIF_FORMATS, write_image, write_snapshots_figure, write_snapshots_gif
from core.runs.directory import CONFIG
from core.runs.snapshots import list_snapshots
from core.runs.trajectory import IMAGE_BYTES, Denoising, Frame

if TYPE_CHECKING:
    from core.diffusion.loaded_model import LoadedModel
    from core.models.custom import Network

GRID_BYTES = 2**29  # maximum of the images in a grid
NOISE_LEVEL = 0.6  # default of --noise-level
Batches = Iterator[Iterator[SampleStep]]


@dataclass(frozen=True)
class Editing:
    """The options of `minidiff sample` for editing; paths are not read yet."""

    start: Path | None = None
    noise_level: float | None = None
    mask: Path | None = None
    interpolate: tuple[str, str] | None = None
    mix: tuple[str, ...] = ()


def generate(
    model: LoadedModel,
    n: int,
    seed: int,
    *,
    every_step: bool,
    editing: Editing = Editing(),
    grid: bool = True,
    output_dir: Path | None = None,
    **options: Any,
) -> Denoising | None:
    """Generate samples in batches.

    Args:
        model, n, seed, options: As for `core.sample`.
        every_step: Keep all frames, for a figure or a GIF.
        editing: What to start from or to combine.
        grid: Keep the samples, for a grid.
        output_dir: Folder to write each sample to, as 000000.png and so on; see `check_output_dir`.

    Returns:
        The samples as one frame, or with `every_step` as one frame per step; None if neither they nor a grid are kept.

    Raises:
        MinidiffError: As `core.sample`; also if what is kept exceeds `GRID_BYTES` or `IMAGE_BYTES`.
    """
    n, shape = image_count(n), model.config.info.shape
    if every_step:
        sampling_options = {name: value for name, value in options.items() if name != "labels"}
        steps = resolve_sampling(model.config, 1, **sampling_options)[0].steps
        _check_count(
            n, IMAGE_BYTES // (math.prod(shape) * (steps + 1)), f"a figure or GIF of {n:,} images with {steps:,} steps"
        )
    elif grid:
        _check_count(n, GRID_BYTES // math.prod(shape), f"a grid of {n:,} images", "; or write files with --output-dir")
    batches = edited_batches(model, n, seed, editing, **options)
    if every_step:
        denoising = record(merged(batches), model=model.name, seed=seed, characters=model.config.characters)
        _write_files(output_dir, denoising.frames[-1].x, shape, 0)
        return denoising
    frames: list[Frame] = []
    done, batch = 0, batch_size(shape)
    with progress_display("sampling") if n > batch else nullcontext() as add:
        for trajectory in batches:
            *_, last = trajectory
            frame = Frame(last.index, last.t, to_uint8(last.x), None)
            _write_files(output_dir, frame.x, shape, done)
            done += len(last.x)
            if grid:
                frames.append(frame)
            if add is not None:
                add(EvaluationProgress("sampling", done, n))
    if not grid:
        return None
    channels, height, width = shape
    whole = dataclasses.replace(frames[-1], x=b"".join(frame.x for frame in frames))
    characters = model.config.characters
    return Denoising(model.name, seed, whole.index, n, height, width, (whole,), channels, characters)


def write_history(
    path: Path, run: Path, n: int, seed: int, *, label: str | None, device: str, net: Network | None, **options: Any
) -> Path:
    """Sample every snapshot of a run from the same noise, and write a GIF or a figure with one row per snapshot.

    Args:
        path: The file.
        run: The run directory.
        n, seed, options: As for `core.sample`.
        label: Name or number of the class.
        device, net: As for `core.load_model`.

    Raises:
        MinidiffError: As `sample_snapshots`; also if the samples exceed `IMAGE_BYTES`.
    """
    config, count = TrainConfig.from_toml(run / CONFIG), len(list_snapshots(run))
    shape = config.info.shape
    if count:
        _check_count(image_count(n), IMAGE_BYTES // (math.prod(shape) * count), f"{n:,} images of {count} snapshots")
    labels = None if label is None else class_label(label, config.info)
    samples = sample_snapshots(run, n, seed=seed, labels=labels, device=device, net=net, **options)

    def shown() -> Iterator[SnapshotSamples]:
        with progress_display("sampling snapshots") as add:
            for done, record in enumerate(samples, start=1):
                add(EvaluationProgress("sampling snapshots", done, count))
                yield record

    series = record_snapshots(shown(), seed)
    return (write_snapshots_gif if path.suffix.lower() in GIF_FORMATS else write_snapshots_figure)(path, series)


def edited_batches(model: LoadedModel, n: int, seed: int, editing: Editing, **options: Any) -> Batches:
    """The batches of `sample_batches`, with the edits that the command line asks for.

    Raises:
        MinidiffError: As `sample_batches`; options exclude each other; a file is not an image.
    """
    shape, labels = model.config.info.shape, options.pop("labels", None)
    if editing.interpolate is not None:
        if editing != Editing(interpolate=editing.interpolate):
            raise MinidiffError("--interpolate excludes --start, --noise-level, --mask and --mix; leave them out")
        return iter([_interpolation(model, editing.interpolate, n, unlabelled(model, labels), options)])
    if editing.start is None and (editing.mask is not None or editing.noise_level is not None):
        raise MinidiffError("--mask and --noise-level edit an image; name it with --start FILE")
    if editing.mix:
        if labels is not None:
            raise MinidiffError("--mix replaces --class; use only one of them")
        weights = _weights(editing.mix, model)
        if editing.mask is not None:
            raise MinidiffError("--mix and --mask exclude each other; use --class for the generated part")
        options["edit"] = class_mix(model, weights)
        labels = next(iter(weights))
    if editing.start is not None:
        labels = unlabelled(model, labels)
        options["images"] = read_image(editing.start, shape)
        t = editing.noise_level
        if t is not None and not MIN_NOISE_LEVEL <= t <= 1:
            raise MinidiffError(f"--noise-level must be from {MIN_NOISE_LEVEL:g} to 1, not {t:g}")
        options["start_t"] = (NOISE_LEVEL if editing.mask is None else 1.0) if t is None else t
    if editing.mask is not None:
        mask = read_mask(editing.mask, shape)
        options["edit"] = inpainting(model, options["images"], mask, n, sampler=options.get("sampler"))
    return sample_batches(model, n, seed=seed, labels=labels, **options)


def check_output_dir(folder: Path) -> Path:
    """Expand `~` and check that images can be written to a new or empty folder.

    Raises:
        MinidiffError: It is a file, holds files, or cannot be written.
    """
    folder = Path(os.path.expanduser(folder))
    try:
        if any(folder.iterdir()):
            raise MinidiffError(f"{folder} is not empty; name a new folder for the images")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MinidiffError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
    return folder


def _interpolation(
    model: LoadedModel, ends: tuple[str, str], n: int, labels: Any, options: dict[str, Any]
) -> Iterator[SampleStep]:
    """Between two seeds if both ends are whole numbers, else between two image files."""
    seeds = [int(end) for end in ends if end.lstrip("-").isdecimal()]
    if len(seeds) == 2:
        return interpolate_seeds(model, seeds[0], seeds[1], n, labels=labels, **options)
    given = [name for name, value in options.items() if value is not None and name != "steps"]
    if given:
        raise MinidiffError(f"images are interpolated by DDIM without guidance; leave out --{given[0]}")
    a, b = (read_image(end, model.config.info.shape) for end in ends)
    steps = {} if options.get("steps") is None else {"steps": whole_number(options["steps"], "steps")}
    return interpolate_images(model, a, b, n, labels=labels, **steps)


def _weights(mix: tuple[str, ...], model: LoadedModel) -> dict[int, float]:
    """Weights by class, from texts such as "3:0.5"."""
    pairs = [text.rpartition(":") for text in mix]
    try:
        weights = [float(weight) for _, colon, weight in pairs if colon]
    except ValueError:
        weights = []
    if len(weights) < len(pairs):
        raise MinidiffError(f"--mix needs classes with weights, such as 3:0.5 8:0.5, not {' '.join(mix)}")
    return {class_label(name, model.config.info): weight for (name, _, _), weight in zip(pairs, weights, strict=True)}


def _check_count(n: int, maximum: int, what: str, advice: str = "") -> None:
    if n > maximum:
        raise MinidiffError(f"{what} is too large; use at most {maximum:,} images (--n){advice}")


def _write_files(folder: Path | None, images: bytes, shape: tuple[int, int, int], first: int) -> None:
    if folder is None:
        return
    size = math.prod(shape)
    for index in range(len(images) // size):
        write_image(folder / f"{first + index:06}.png", images[index * size : (index + 1) * size], shape)
