"""The engine: a process beside the UI that loads torch once, generates samples and computes the Lab.

Requests arrive on stdin and replies leave on stdout, as `core.engine.codec` encodes them. While it loads torch or works
on a request it sends `Alive` every second, so that the UI can tell a hang from work. It exits when its stdin closes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from core.config.datasets import ImageOptions
from core.engine.codec import decode_request, encode
from core.engine.ideal_messages import IdealRequest
from core.engine.plane_messages import PlaneRequest
from core.engine.protocol import (
    TEST_IMAGES,
    Alive,
    Cancelled,
    DatasetImage,
    DescriptionReply,
    DescriptionRequest,
    Done,
    DrawnImage,
    EngineReply,
    EngineRequest,
    InversionProgress,
    LabRequest,
    ModelRequest,
    NearestProgress,
    NearestReply,
    NearestRequest,
    Ready,
    Refused,
    SampledFrame,
    SampleRequest,
    SamplingInfo,
    SnapshotSampled,
    SnapshotsRequest,
)
from core.engine.training_messages import TrainingRequest
from core.errors import MinidiffError
from core.runs.trajectory import Denoising
from core.text import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from core.config.sampling import Sampling
    from core.config.training import TrainConfig
    from core.data.datasets import LabeledImages
    from core.diffusion.frames import Classify
    from core.diffusion.loaded_model import LoadedModel
    from core.engine.ideal import IdealComparison
    from core.engine.lab import LabImage
    from core.engine.plane import PlaneSession
    from core.lab.plane.points import PlanePoints

REQUEST_BYTES = 262_144  # of a line; a drawing of 256x256 pixels takes 132,000, and its mask 66,000
VALIDATION_IMAGES = 256  # on which the loss of each snapshot is measured
MAX_IMAGES = 1_024  # per request; the UI requests 64 at most
ALIVE_SECONDS = 1.0  # between two `Alive` messages


class EngineServer:
    """Works on one request at a time; a newer request cancels the one in progress."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies
        self._reply_lock = threading.Lock()
        self._busy = threading.Event()
        self._queue: queue.SimpleQueue[EngineRequest | Refused | None] = queue.SimpleQueue()
        self._loaded: tuple[tuple[str, str, int, int], LoadedModel] | None = None
        self._classifiers: dict[str, Classify | None] = {}  # by dataset; None if it has no feature classifier
        self._test_images: dict[tuple[str, ImageOptions], LabeledImages] = {}
        self._training_images: tuple[tuple[str, ImageOptions, int | None], LabeledImages] | None = None
        self._samples: tuple[SampleRequest, Tensor] | None = None  # of the newest finished request
        self._plane: PlaneSession | None = None  # of the first `PlaneRequest`
        self._ideal: IdealComparison | None = None  # of the first `IdealRequest`

    def serve(self) -> None:
        """Load torch, send `Ready`, and handle requests until stdin closes."""
        threading.Thread(target=self._read_requests, daemon=True).start()
        threading.Thread(target=self._send_alive, daemon=True).start()
        self._busy.set()
        began = time.monotonic()
        from core.compute.device import pick_device

        self._reply(Ready(device=str(pick_device()), seconds=round(time.monotonic() - began, 3)))
        self._busy.clear()
        while (request := self._queue.get()) is not None:
            if self._queue.empty():
                self._busy.set()
                self.handle(request)
                self._busy.clear()
            else:
                self._reply(Cancelled(id=request.id))

    def submit(self, request: EngineRequest | Refused) -> None:
        """Queue a request, which cancels the one in progress."""
        self._queue.put(request)

    def handle(self, request: EngineRequest | Refused) -> None:
        """Reply to a request until it is done or a newer one is queued; an error becomes a one-line `Refused`."""
        if isinstance(request, Refused):
            self._reply(request)
            return
        began: float | None = None  # after the model is loaded
        try:
            for reply in self._replies_to(request):
                began = began or time.monotonic()
                self._reply(dataclasses.replace(reply, id=request.id))
                if not self._queue.empty():
                    self._reply(Cancelled(id=request.id))
                    return
        except MinidiffError as error:
            self._reply(Refused(id=request.id, message=str(error)))
        # What torch raises, or a file that was removed.
        except (RuntimeError, OSError, TypeError, ValueError, LookupError, ArithmeticError, MemoryError) as error:
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            self._reply(Refused(id=request.id, message=sanitize(message)))
        else:
            self._reply(Done(id=request.id, seconds=round(time.monotonic() - (began or time.monotonic()), 3)))

    def _read_requests(self) -> None:
        at_start_of_line = True
        while piece := self._requests.readline(REQUEST_BYTES):
            complete = piece.endswith(b"\n")
            if at_start_of_line and complete and (request := decode_request(piece)) is not None:
                self.submit(request)
            at_start_of_line = complete
        self._queue.put(None)

    def _send_alive(self) -> None:
        with contextlib.suppress(OSError):  # the UI is gone
            while self._busy.wait():
                time.sleep(ALIVE_SECONDS)
                if self._busy.is_set():
                    self._reply(Alive())

    def _replies_to(self, request: EngineRequest) -> Iterator[EngineReply]:
        match request:
            case DescriptionRequest():
                yield from _describe(request)
            case NearestRequest():
                yield from self._nearest(request)
            case SnapshotsRequest():
                yield from self._snapshots(request)
            case SampleRequest():
                yield from self._sample(request)
            case IdealRequest():
                from core.engine.ideal import IdealComparison

                self._ideal = self._ideal or IdealComparison(self._training, self._classify)
                yield from self._ideal.replies(request, self._lab_image(request.image), self._model(request))
            case TrainingRequest():
                from core.engine.training import training_replies

                image = self._lab_image(request.image)
                yield from training_replies(request, image, self._model(request), self._classify)
            case LabRequest():
                from core.engine.lab import lab_replies

                image = self._lab_image(request.image)
                yield from lab_replies(request, image, partial(self._model, request), self._classify)
            case PlaneRequest():
                from core.engine.plane import PlaneSession

                self._plane = self._plane or PlaneSession(self._plane_points)
                yield from self._plane.replies(request)

    def _sample(self, request: SampleRequest) -> Iterator[EngineReply]:
        from core.diffusion.frames import to_frame
        from core.diffusion.interpolation import InversionStep
        from core.engine.sampling import plan_sampling

        _checked_count(request.n)
        loaded = self._model(request)
        config = loaded.config
        test_images = partial(self._images, config.dataset, options=config.image_options)
        plan = plan_sampling(loaded, request, test_images, partial(self._classify, loaded))
        info = _sampling_info(request, loaded, plan.sampling, plan.classes, plan.nfe)
        yield dataclasses.replace(info, start=plan.start, drawing_read=plan.drawing_read)
        classify = self._classifier(config)
        for step in plan.steps:
            if isinstance(step, InversionStep):
                yield InversionProgress(done=step.done, steps=step.steps)
            else:
                x = step.x
                yield SampledFrame(frame=to_frame(step, classify))
        self._samples = (_sampling_of(request), x)

    def _snapshots(self, request: SnapshotsRequest) -> Iterator[EngineReply]:
        from core.config.sampling import evaluations, resolve_sampling
        from core.diffusion.loaded_model import find_run_of
        from core.diffusion.snapshots import sample_snapshots, to_snapshot_frame
        from core.engine.sampling import options_of
        from core.runs.directory import root_directory
        from core.runs.pipelines import model_config

        n, steps, options = _checked_count(request.n), request.steps, options_of(request)
        self._loaded = None  # free its memory
        config = model_config(find_run_of(request.model, root_directory(request.root)))
        samples = sample_snapshots(
            request.model,
            n,
            steps,
            request.seed,
            device=request.device,
            root=request.root or None,
            training_steps=request.training_steps,
            validation=self._validation_images(config) if request.validate else None,
            labels=request.label,
            **options,
        )
        for number, record in enumerate(samples):
            if number == 0:
                sampling, classes = resolve_sampling(config, n, steps=steps, labels=request.label, **options)
                yield _sampling_info(request, record.model, sampling, classes, evaluations(sampling, config.path))
            yield SnapshotSampled(frame=to_snapshot_frame(record, self._classifier(config)))

    def _validation_images(self, config: TrainConfig) -> LabeledImages | None:
        """Some test images, to measure losses on; None if they are not on this machine or there is no such loss."""
        if config.objective != "diffusion":
            return None
        try:
            test = self._images(config.dataset, 0, VALIDATION_IMAGES, config.image_options)
        except MinidiffError:
            return None
        return test if test.images.shape[1:] == config.info.shape else None

    def _nearest(self, request: NearestRequest) -> Iterator[EngineReply]:
        from core.diffusion.frames import quantized, to_bytes
        from core.evaluation.nearest import nearest
        from core.generators import WithResult

        config = self._model(request).config
        yield NearestProgress(compared=0, total=0)
        training = self._training(config)
        if self._samples is None or self._samples[0] != _sampling_of(request):
            for _ in self._sample(request):
                pass
        assert self._samples is not None, "just sampled"
        with WithResult(nearest(quantized(self._samples[1]), training.images, 1)) as search:
            for compared, total in search:
                yield NearestProgress(compared=compared, total=total)
            found = search.result
        indices = found.indices[:, 0]
        channels, height, width = config.info.shape
        yield NearestReply(
            height=height,
            width=width,
            channels=channels,
            images=to_bytes(training.images[indices]),
            indices=tuple(indices.tolist()),
            labels=tuple(training.labels[indices].tolist()),
            distances=tuple(found.distances[:, 0].tolist()),
        )

    def _training(self, config: TrainConfig) -> LabeledImages:
        """The training images of a model.

        Raises:
            MinidiffError: They are unknown, not on this machine, or of another shape.
        """
        from core.data.datasets import load_local

        name, shape = config.dataset, config.info.shape
        if name == "auto":
            raise MinidiffError("the model does not say on which images it was trained, so none can be compared")
        known = (name, config.image_options, config.limit)
        if self._training_images is None or self._training_images[0] != known:
            self._training_images = None  # free its memory first
            images = load_local(name, split="train", limit=config.limit, options=config.image_options)
            self._training_images = (known, images)
        training = self._training_images[1]
        if training.images.shape[1:] != shape:
            found = tuple(training.images.shape[1:])
            raise MinidiffError(f"the training images {name} now have the shape {found}, and the model's {shape}")
        return training

    def _lab_image(self, image: DatasetImage | DrawnImage) -> LabImage:
        from core.config.datasets import IMAGE_SIZE
        from core.engine.lab import LabImage
        from core.engine.sampling import drawn

        if isinstance(image, DatasetImage):
            test = self._images(image.dataset, image.index, 1)
            label = int(test.labels[0])
            return LabImage(test.images[0].float() / 255, None if label < 0 else label)
        return LabImage(drawn(image, (1, IMAGE_SIZE, IMAGE_SIZE))[0], image.label, drawn=True)

    def _plane_points(self, points: str | DrawnImage) -> PlanePoints:
        from core.config.datasets import IMAGE_SIZE, INFO
        from core.config.plane import POINT_SETS
        from core.engine.sampling import drawn
        from core.lab.plane.points import drawn_points, plane_points, principal_points

        if isinstance(points, DrawnImage):
            return drawn_points(drawn(points, (1, IMAGE_SIZE, IMAGE_SIZE))[0, 0])
        if points in POINT_SETS or points not in INFO:
            return plane_points(points)
        return principal_points(*self._images(points, 0, TEST_IMAGES), INFO[points].class_names)

    def _classify(self, model: LoadedModel, images: Tensor) -> tuple[tuple[int, int], ...] | None:
        from core.diffusion.frames import quantized

        classify = self._classifier(model.config)
        return None if classify is None else classify(quantized(images))

    def _classifier(self, config: TrainConfig) -> Classify | None:
        from core.evaluation.feature_classifiers import available_classifier, classify

        if config.dataset not in self._classifiers:
            classifier = available_classifier("conv", config.dataset, config.info)
            self._classifiers[config.dataset] = None if classifier is None else partial(classify, classifier)
        return self._classifiers[config.dataset]

    def _images(
        self,
        dataset: str,
        first: int,
        n: int,
        options: ImageOptions = ImageOptions(),  # noqa: B008 - immutable
    ) -> LabeledImages:
        """`n` test images of a dataset on this machine, from index `first` on, wrapping around at the end."""
        from core.data.datasets import LabeledImages, load_local

        if dataset == "auto":
            raise MinidiffError("the model does not say on which images it was trained; choose an image file instead")
        key = (dataset, options)
        if key not in self._test_images:
            self._test_images[key] = load_local(dataset, limit=TEST_IMAGES, options=options)
        images, labels = self._test_images[key]
        indices = [(first + i) % len(images) for i in range(n)]
        return LabeledImages(images[indices], labels[indices])

    def _model(self, request: ModelRequest) -> LoadedModel:
        """The requested model, loaded again only if its file has changed, as that of a run in training does."""
        from core.diffusion.loaded_model import find_model, load_model
        from core.runs.directory import root_directory

        file = find_model(request.model, root_directory(request.root))
        key = (str(file), request.device, file.stat().st_mtime_ns, file.stat().st_ino)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # free its memory first: a small GPU may not hold two models
            self._loaded = (key, load_model(request.model, request.device, request.root or None, cuda_graphs=True))
        return self._loaded[1]

    def _reply(self, reply: EngineReply) -> None:
        message = encode(reply)
        with self._reply_lock:
            self._replies.write(message)
            self._replies.flush()


def _checked_count(n: int) -> int:
    if n > MAX_IMAGES:
        raise MinidiffError(f"n must be at most {MAX_IMAGES:,}, not {n}")
    return n


def _sampling_info(
    request: SampleRequest, model: LoadedModel, sampling: Sampling, classes: tuple[int, ...] | None, nfe: int
) -> SamplingInfo:
    """What is sampled from noise, and how."""
    channels, height, width = model.config.info.shape
    characters = model.config.characters
    return SamplingInfo(
        denoising=Denoising(
            request.model, request.seed, sampling.steps, request.n, height, width, (), channels, characters
        ),
        sampling=sampling,
        labels=classes,
        class_names=model.config.info.class_names,
        start=None,
        drawing_read=None,
        nfe=nfe,
        parameters=sum(parameter.numel() for parameter in model.net.parameters()),
        device=str(model.device),
    )


def _describe(request: DescriptionRequest) -> Iterator[DescriptionReply]:
    from core.config.training import TrainConfig
    from core.training.description import describe_run

    for description in describe_run(TrainConfig(**request.options)):
        yield DescriptionReply(description=description)


def _sampling_of(request: SampleRequest) -> SampleRequest:
    """The samples that a request asks for, to be compared."""
    fields = {field.name: getattr(request, field.name) for field in dataclasses.fields(SampleRequest)}
    return SampleRequest(**{**fields, "id": 0})


def main() -> None:
    """Serve on this process's stdin and stdout; what libraries print goes to stderr instead."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # there is nothing to save, and nobody would read a traceback
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):  # the UI is gone
        EngineServer(sys.stdin.buffer, replies).serve()
    os._exit(0)  # the reader thread may still be blocked on stdin


if __name__ == "__main__":
    main()
