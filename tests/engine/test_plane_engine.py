"""The engine's replies to the 2-D bench, in this process and through the codec."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from core.config.plane import POINT_SETS
from core.data.datasets import load_dataset
from core.diffusion.prob_paths import PATHS
from core.engine.codec import decode_reply, decode_request, encode, parse_header
from core.engine.plane_messages import (
    PLANE_REPLIES,
    PLANE_REQUESTS,
    PlaneComparison,
    PlaneData,
    PlaneDensity,
    PlaneParticles,
    PlaneProgress,
    PlaneRequest,
    PlaneVectors,
)
from core.engine.protocol import Array, Cancelled, Done, DrawnImage, EngineReply, Refused
from core.engine.server import EngineServer
from core.lab.plane import (
    PlanePoints,
    compare_steps,
    marginal_density,
    particle_steps,
    plane_points,
    principal_points,
    train_plane,
    vector_field,
)

REQUEST = PlaneRequest(
    id=1, points="rings", training_steps=50, n=5, steps=3, density=(6, 4), field=(3, 2), smoothing=0.1, compare=(1, 2)
)


class Engine:
    """A server whose replies are decoded from the bytes that it writes."""

    def __init__(self) -> None:
        self.written = io.BytesIO()
        self.server = EngineServer(io.BytesIO(), self.written)

    def ask(self, request: PlaneRequest) -> list[EngineReply]:
        decoded = decode_request(encode(request))
        assert decoded is not None
        self.written.seek(0)
        self.written.truncate()
        self.server.handle(decoded)
        return list(self.replies())

    def replies(self) -> Iterator[EngineReply]:
        self.written.seek(0)
        while line := self.written.readline():
            record, size = parse_header(line)
            yield decode_reply(record, self.written.read(size))


def tensor(array: Array) -> torch.Tensor:
    return torch.tensor(list(array.values)).reshape(array.shape)


def only(replies: list[EngineReply], kind: type[EngineReply]) -> list[EngineReply]:
    return [reply for reply in replies if isinstance(reply, kind)]


def test_a_request_is_decoded_as_it_was_encoded() -> None:
    drawing = replace(REQUEST, points=DrawnImage("00ff"), prediction="clean", label=1, against=0, density=None)
    assert {type(request) for request in (REQUEST, drawing)} == set(PLANE_REQUESTS)
    assert [decode_request(encode(request)) for request in (REQUEST, drawing)] == [REQUEST, drawing]


def test_it_sends_the_training_and_then_what_the_network_computes() -> None:
    replies = Engine().ask(REQUEST)
    assert {type(reply) for reply in replies} == {*PLANE_REPLIES, Done}
    assert {reply.id for reply in replies} == {1}
    data, density, *_ = replies
    assert isinstance(data, PlaneData)
    expected = plane_points("rings")
    assert torch.equal(tensor(data.points), expected.points)
    assert list(data.labels) == expected.labels.tolist()
    assert data.class_names == POINT_SETS["rings"]
    assert isinstance(density, PlaneDensity)
    assert density.times == pytest.approx((1, 2 / 3, 1 / 3, 0))
    assert density.density.shape == (4, 4, 6)
    *_, last = records = list(train_plane(expected, steps=50, every=25))
    for t, found in zip(density.times, tensor(density.density), strict=True):
        assert torch.allclose(found, marginal_density(expected, last.model.path, t, 6, 4, smoothing=0.1), atol=1e-4)
    progress = [reply for reply in replies if isinstance(reply, PlaneProgress)]
    assert [(reply.step, reply.steps) for reply in progress] == [(0, 50), (25, 50), (50, 50)]
    assert progress[0].loss is None
    assert progress[-1].loss == pytest.approx(records[-1].loss, rel=1e-3)
    vectors = only(replies, PlaneVectors)[-1]
    assert isinstance(vectors, PlaneVectors)
    assert vectors.times == density.times
    for t, found in zip(vectors.times, tensor(vectors.vectors), strict=True):
        assert torch.allclose(found, vector_field(last.model, t, 3, 2).vectors, atol=1e-3)
    particles = only(replies, PlaneParticles)[-1]
    assert isinstance(particles, PlaneParticles)
    steps = list(particle_steps(last.model, 5, 3))
    assert particles.times == pytest.approx([step.t for step in steps])
    assert torch.allclose(tensor(particles.points), torch.stack([step.points for step in steps]), atol=1e-3)
    compared = [reply for reply in replies if isinstance(reply, PlaneComparison)]
    for reply, record in zip(compared, compare_steps(last.model, expected, (1, 2), 5), strict=True):
        assert (reply.steps, reply.evaluations) == (record.steps, record.evaluations)
        assert reply.distance == pytest.approx(record.distance, rel=1e-2)


def test_a_trained_network_answers_other_settings_without_training_again() -> None:
    engine = Engine()
    engine.ask(REQUEST)
    moved = engine.ask(replace(REQUEST, id=2, kind="score", n=0, compare=(), density=None))
    assert [type(reply) for reply in moved] == [PlaneData, PlaneProgress, PlaneVectors, Done]
    assert [reply.step for reply in moved if isinstance(reply, PlaneProgress)] == [50]
    other = engine.ask(replace(REQUEST, seed=1, n=0))
    assert [reply.step for reply in other if isinstance(reply, PlaneProgress)] == [0, 25, 50]


def test_a_newer_request_continues_the_training() -> None:
    engine = Engine()
    engine.server.submit(replace(REQUEST, id=2))  # waits, and so cancels the next one after its first reply
    cancelled = engine.ask(REQUEST)
    assert [type(reply) for reply in cancelled] == [PlaneData, Cancelled]
    bench = engine.server._plane
    assert bench is not None
    partial = bench.replies(replace(REQUEST, n=0))
    while not (isinstance(reply := next(partial), PlaneProgress) and reply.step == 25):
        pass
    partial.close()
    continued = list(bench.replies(replace(REQUEST, n=0, kind="score")))
    assert [reply.step for reply in continued if isinstance(reply, PlaneProgress)] == [25, 50]


def test_a_drawing_and_the_components_of_a_dataset_are_points_too() -> None:
    engine = Engine()
    pixels = "".join("ff" if index // 28 == 3 else "00" for index in range(28 * 28))  # a horizontal line
    drawn, *_ = engine.ask(replace(REQUEST, points=DrawnImage(pixels), training_steps=0, n=0))
    assert isinstance(drawn, PlaneData)
    assert tensor(drawn.points)[:, 1].abs().max() < 0.05
    assert drawn.class_names == ("left", "right")
    digits, *_ = engine.ask(replace(REQUEST, points="glyphs", training_steps=0, n=0))
    assert isinstance(digits, PlaneData)
    images, labels = load_dataset("glyphs", split="test", limit=1000)
    expected = principal_points(images, labels, digits.class_names)
    assert torch.allclose(tensor(digits.points), expected.points, atol=1e-4)
    assert list(digits.labels) == labels.tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"points": "ringz"}, "did you mean rings?"),
        ({"path": "vp", "prediction": "velocity"}, "the path vp supports"),
        ({"steps": 100_000}, "steps must lie between 1 and 200"),
        ({"compare": (0,)}, "steps must lie between 1 and 200"),
        ({"against": 0, "label": 1}, "leave against out"),
        ({"smoothing": -1.0}, "smoothing must be a number from 0"),
        ({"label": 7}, "7"),
        ({"field": (0, 5)}, "1 to 40,000 cells"),
        ({"training_steps": 10**9}, "steps must lie between 0 and 20,000"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    last = Engine().ask(replace(REQUEST, **{"training_steps": 0, **changes}))[-1]  # type: ignore[arg-type]
    assert isinstance(last, Refused)
    assert words in last.message


def test_the_density_of_a_class_is_that_of_its_points() -> None:
    replies = Engine().ask(replace(REQUEST, training_steps=0, label=0, n=0, compare=()))
    (density,) = only(replies, PlaneDensity)
    assert isinstance(density, PlaneDensity)
    data = plane_points("rings")
    own = PlanePoints(data.points[data.labels == 0], data.labels[data.labels == 0], data.class_names)
    assert torch.allclose(
        tensor(density.density)[-1], marginal_density(own, PATHS["flow"], 0.0, 6, 4, smoothing=0.1), atol=1e-4
    )


def test_fields_and_particles_are_sent_more_often_at_first() -> None:
    replies = Engine().ask(replace(REQUEST, training_steps=450, compare=(), n=2, steps=1, density=None))
    step, shown = 0, []
    for reply in replies:
        if isinstance(reply, PlaneProgress):
            step = reply.step
        if isinstance(reply, PlaneParticles):
            shown.append(step)
    assert shown == [0, 50, 100, 150, 200, 400, 450]
