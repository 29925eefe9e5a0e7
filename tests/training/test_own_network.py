"""Training networks and data of the user's own, fine-tuning, and gradient clipping."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import error_line
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from core import TrainConfig, load_model, resume, sample, train
from core.cli import run
from core.errors import MinidiffError
from core.models.custom import with_network
from core.models.weights import read_weights
from core.runs.directory import MODEL
from core.runs.events import DatasetLoaded, Finished, Warned
from core.training.optimizer import Optimizer
from core.training.trainer import Trainer

TINY: dict[str, Any] = {
    "dataset": "glyphs",
    "limit": 64,
    "batch_size": 8,
    "epochs": 2,
    "device": "cpu",
    "threads": 1,
    "precision": "float32",
}
MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.embed = nn.Embedding(classes + 1, 1)

    def forward(self, x, t, labels):
        return self.conv(x) * t.view(-1, 1, 1, 1) + self.embed(labels)[:, :, None, None]

class Wrong(Net):
    def forward(self, x, t, labels):
        return self.conv(x) @ x.new_zeros(3)

class Small(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 1, 3)
"""


class Everything(nn.Module):
    """Dropout, running statistics, tied, frozen and unused weights."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.into = nn.Conv2d(1, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.2)
        self.hidden = nn.Conv2d(16, 16, 3, padding=1)
        self.tied = nn.Conv2d(16, 16, 3, padding=1)
        self.tied.weight = self.hidden.weight
        self.frozen = nn.Linear(1, 16).requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.classes = nn.Embedding(classes + 1, 16)  # not renamed as in old files
        self.out = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        h = self.into(x) + (self.frozen(t[:, None]) + self.classes(labels))[:, :, None, None]
        h = self.tied(self.drop(torch.relu(self.hidden(self.norm(h)))))
        return self.out(h)


class Function(nn.Module):
    """A network whose forward is the given function."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.forward = forward


def seeded(build: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()


def test_an_own_network_resumes_bit_for_bit_and_samples(tmp_path: Path) -> None:
    config = TrainConfig(root=tmp_path, **TINY)
    whole = seeded(Everything)
    *_, last = train(TrainConfig(root=tmp_path, name="whole", **TINY), net=whole)
    assert isinstance(last, Finished)
    running = train(TrainConfig(root=tmp_path, name="parts", **TINY), net=seeded(Everything))
    for event in running:
        if getattr(event, "step", 0) >= 3:
            break
    running.close()
    torch.manual_seed(5)  # the global generator has no influence
    *_, last = resume(tmp_path / "parts", net=Everything())
    assert isinstance(last, Finished)
    tensors = {name: read_weights(tmp_path / name / MODEL, Everything)[0] for name in ("whole", "parts")}
    assert tensors["whole"].keys() == whole.state_dict().keys()  # as the user's class loads them
    for name, value in tensors["whole"].items():
        assert torch.equal(value, tensors["parts"][name]), name
    assert torch.equal(tensors["whole"]["norm.running_mean"], whole.norm.running_mean)  # EMA of weights only
    assert not torch.equal(tensors["whole"]["hidden.weight"], Everything().hidden.weight)
    model = load_model("whole", "cpu", tmp_path, net=Everything)
    *_, record = sample(model, n=2, steps=3, labels=4)
    assert record.x.shape == (2, 1, 28, 28)
    assert config.model == "patch_unet"
    assert re.fullmatch(r"\S+:Everything", model.config.model)


def test_a_skipped_step_leaves_running_statistics_unchanged() -> None:
    net = seeded(Everything)
    trainer = Trainer(with_network(TrainConfig(**TINY), net), torch.device("cpu"), net=net)
    trainer.set_data(torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8), torch.arange(64) % 10)
    trainer.train_step()
    before = copy.deepcopy(net.state_dict())
    images, trainer.images = trainer.images, torch.full((64, 1, 28, 28), torch.inf)
    loss, _ = trainer.train_step()
    assert loss.isnan()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    trainer.images = images
    loss, _ = trainer.train_step()
    assert loss.isfinite()
    assert not torch.equal(net.norm.running_mean, before["norm.running_mean"])


def test_a_network_of_the_image_alone_is_trained_without_conditioning(tmp_path: Path) -> None:
    events = list(
        train(TrainConfig(root=tmp_path, name="a", **{**TINY, "epochs": 1}), net=nn.Conv2d(1, 1, 3, padding=1))
    )
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "torch.nn.modules.conv:Conv2d takes only net(x): training without time_conditioning and class_conditional"
    ]
    model = load_model("a", "cpu", tmp_path, net=nn.Conv2d(1, 1, 3, padding=1))
    assert not model.config.time_conditioning
    assert not model.config.class_conditional
    with pytest.raises(MinidiffError, match=r"holds another model: weight is \(1, 1, 3, 3\)"):
        load_model("a", "cpu", tmp_path, net=nn.Conv2d(1, 1, 5, padding=2))


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            Function(lambda x, t: x[..., 1:]),
            r"net\(x, t\) returned \(2, 1, 28, 27\) for images of shape \(2, 1, 28, 28\)",
        ),
        (
            Function(lambda x: x / {}["key"]),
            r"net\(x\) failed, x .*: KeyError: 'key' \(test_own_network.py, line \d+\)",
        ),
        (Function(lambda x, t, y, mask: x), r"forward takes \(x, t, y, mask\); it is called as net\(x, t, labels\)"),
        (nn.Conv2d(1, 1, 3, dtype=torch.float64), "has weight in float64; weights and buffers must be float32"),
        (nn.LazyConv2d(1, 3), "has lazy layers without shapes"),
        (nn.Identity(), "has no trainable parameters"),
        (lambda: "text", "returned a str, not a torch.nn.Module"),
    ],
    ids=["shape", "exception", "signature", "dtype", "lazy", "no parameters", "no module"],
)
def test_a_network_that_cannot_be_trained_is_refused_in_one_line(net: Any, message: str) -> None:
    with pytest.raises(MinidiffError, match=message) as error:
        list(train(TrainConfig(**TINY), net=net))
    assert "\n" not in str(error.value)


def test_the_command_line_imports_a_network_only_for_its_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_net_for_test.py").write_text(MODULE)
    (tmp_path / "planted_for_test.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    monkeypatch.setenv("MINIDIFF_HOME", str(tmp_path / "runs"))
    options = ["--dataset", "glyphs", "--limit", "16", "--batch-size", "8", "--epochs", "1", "--device", "cpu"]
    own = ["--model", "own_net_for_test:Net"]
    assert run(["train", *options, "--name", "a", *own]) == 0
    assert run(["resume", "a", "--epochs", "2", *own]) == 0
    assert run(["sample", "a", "--n", "1", "--steps", "2", "--device", "cpu", *own]) == 0
    capsys.readouterr()
    needed = "has the network own_net_for_test:Net, which is not part of minidiff"
    assert needed in error_line(capsys, "sample", "a")
    assert needed in error_line(capsys, "resume", "a", "--epochs", "3", code=2)
    config = tmp_path / "runs/a/config.toml"
    config.write_text(config.read_text().replace("own_net_for_test", "planted_for_test"))
    assert "imported only for --model planted_for_test:Net" in error_line(
        capsys, "train", "--config", "runs/a/config.toml", code=2
    )
    assert "planted_for_test:Net, which is not part" in error_line(capsys, "resume", "a", "--epochs", "3", code=2)
    assert run(["train", *options, "--model", "own_net_for_test:Wrong"]) == 2
    assert re.search(r"net\(x, t, labels\) failed.*\(own_net_for_test.py, line 16\)$", capsys.readouterr().err.strip())
    assert "own_net_for_test.py has no Nat; use --model own_net_for_test:CLASS" in error_line(
        capsys, "train", *options, "--model", "own_net_for_test:Nat", code=2
    )
    assert "there is no module nothing_here in" in error_line(capsys, "train", "--model", "nothing_here:Net", code=2)
    assert "did you mean patch_unet?" in error_line(capsys, "train", "--model", "patchunet", code=2)


IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 12, 16), dtype=np.uint8)
LABELS = np.arange(40) % 3


@pytest.mark.parametrize(
    ("data", "channels", "classes"),
    [
        (IMAGES, 3, ()),
        (torch.from_numpy(IMAGES[:, 0]).float() / 255, 1, ()),
        ((IMAGES, torch.from_numpy(LABELS)), 3, ("0", "1", "2")),
        ({"images": IMAGES, "labels": LABELS, "class_names": ["a", "b", "c"]}, 3, ("a", "b", "c")),
        (TensorDataset(torch.from_numpy(IMAGES), torch.from_numpy(LABELS)), 3, ("0", "1", "2")),
    ],
    ids=["array", "grey tensor", "pair", "mapping", "dataset"],
)
def test_data_from_python_is_trained_on_and_found_again(
    data: Any, channels: int, classes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = {"channels": (16, 16), "epochs": 1, "batch_size": 16, "device": "cpu", "threads": 1}
    events = list(train(TrainConfig(root=tmp_path, name="a", **options), data=data))
    (loaded,) = (event for event in events if isinstance(event, DatasetLoaded))
    assert (loaded.train, loaded.test) == (36, 4)
    info = load_model("a", "cpu", tmp_path).config.info
    assert (info.shape, info.class_names) == ((channels, 12, 16), classes)
    *_, last = resume(tmp_path / "a", epochs=2)
    assert isinstance(last, Finished)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "data is a int; pass images"),
        ([np.zeros((8, 8)), np.zeros((8, 9))], r"2 different shapes, such as \(8, 8\) and \(8, 9\)"),
        ([], "data has no images"),
        ([object()], "object values that are not an array of numbers"),
        ((IMAGES, LABELS[:5]), "40 images and 5 labels"),
    ],
)
def test_data_that_is_no_images_is_refused(
    data: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MinidiffError, match=message):
        list(train(TrainConfig(device="cpu"), data=data))


def test_fine_tuning_starts_from_the_weights_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = {**TINY, "channels": (16, 16), "epochs": 1, "root": tmp_path}
    list(train(TrainConfig(name="first", **small)))
    still = {key: value for key, value in small.items() if key != "dataset"} | {
        "learning_rate": 1e-12,
        "weight_decay": 0,
    }
    pixels = IMAGES[:, :1].repeat(2, 2).repeat(2, 3)
    events = list(train(TrainConfig(name="tuned", init_from="first", **still), data=(pixels, LABELS)))
    (warning,) = (event.message for event in events if isinstance(event, Warned) and "weights" in event.message)
    assert warning == (
        "1 of the weights are not in first, or have another shape there, and start at random: class_embed.weight"
    )
    first, tuned = (load_model(name, "cpu", tmp_path).net.state_dict() for name in ("first", "tuned"))
    assert tuned["class_embed.weight"].shape[0] == len({*LABELS}) + 1
    for name in first.keys() - {"class_embed.weight"}:
        torch.testing.assert_close(tuned[name], first[name], atol=1e-6, rtol=0)
    with pytest.raises(MinidiffError, match=r"only .* weights .* trained with --model patch_unet --size base; use"):
        list(train(TrainConfig(init_from="default-mnist", **small)))


def test_gradients_above_the_limit_are_scaled_down_to_it() -> None:
    net = nn.Linear(4, 4)
    for limit, expected in ((0.5, 0.5), (100.0, 4.0)):
        optimizer = Optimizer(net, TrainConfig(clip_grad_norm=limit, optimizer="adam"))
        for weight in net.parameters():
            weight.grad = torch.full_like(weight, 4 / 20**0.5)
        assert optimizer.step(torch.tensor(1.0), optimizer.rate(0, 10))
        gradients = torch.cat([weight.grad.flatten() for weight in net.parameters()])
        torch.testing.assert_close(gradients.norm(), torch.tensor(expected), rtol=1e-5, atol=0)
