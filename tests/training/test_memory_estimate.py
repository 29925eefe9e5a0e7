"""The memory estimate against the measured peak memory of a training process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import psutil
import pytest
from command_line import environment

from core import TrainConfig, train
from core.runs.events import DatasetLoaded, Warned
from core.runs.history import in_words

TRAINING = """
import resource, sys, torch
from core.config.training import TrainConfig
from core.training.memory_estimate import training_memory
from core.training.trainer import Trainer

batch, options = int(sys.argv[1]), dict(word.split("=") for word in sys.argv[2:])
config = TrainConfig(batch_size=batch, device="cpu", **options)
trainer = Trainer(config, torch.device("cpu"))
images = torch.zeros((2 * batch, 1, 28, 28), dtype=torch.uint8)
trainer.set_data(images, torch.zeros(2 * batch, dtype=torch.int64))
before = [weight.clone() for weight in trainer.net.state_dict().values()]
estimate = training_memory(trainer)
assert all(map(torch.equal, before, trainer.net.state_dict().values()))
assert all(weight.grad is None for weight in trainer.net.parameters())
for _ in range(2):
    trainer.train_step()
print(estimate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.parametrize(
    ("batch", "options"), [(512, "preset=default precision=float32"), (1024, "preset=quick"), (64, "preset=tutorial")]
)
def test_the_estimate_is_close_to_the_peak(batch: int, options: str) -> None:
    command = [sys.executable, "-P", "-c", TRAINING, str(batch), *options.split()]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    estimate, peak = map(int, done.stdout.split())
    assert estimate == pytest.approx(peak, rel=0.25)


def test_training_reports_its_memory_estimate_and_warns_if_it_exceeds_free_memory(
    tiny: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000_000))
    messages = [in_words(event) for event in train(tiny(epochs=1)) if isinstance(event, DatasetLoaded | Warned)]
    assert any(re.search(r"needs about [\d.]+ [MG]iB of memory$", line) for line in messages), messages
    assert any("use --fit-memory or a smaller --batch-size" in line for line in messages), messages
