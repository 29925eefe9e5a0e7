"""Trains a small network on drawn digits, and generates samples with it and with every snapshot of its weights."""

from pathlib import Path
from tempfile import TemporaryDirectory

from core import TrainConfig, load_model, sample, sample_snapshots, train
from core.diffusion.frames import record
from core.diffusion.snapshots import record_snapshots
from core.export.images import write_grid, write_snapshots_gif
from core.runs.events import Epoch

with TemporaryDirectory() as root:
    config = TrainConfig(
        dataset="glyphs", limit=512, epochs=2, channels=(16, 32), device="cpu", root=root, name="example"
    )
    for event in train(config):
        if isinstance(event, Epoch):
            print(f"epoch {event.epoch}: loss {event.loss:.4f}, validation {event.validation_loss:.4f}")
    model = load_model(Path(root) / "example", device="cpu")
    denoising = record(sample(model, n=8, steps=20, seed=0), model="example", seed=0)
    print("wrote", write_grid(Path("samples.png"), denoising))
    history = record_snapshots(sample_snapshots(Path(root) / "example", n=4, steps=4, seed=0, device="cpu"))
    print("wrote", write_snapshots_gif(Path("history.gif"), history))
