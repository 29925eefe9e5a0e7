"""Trains Adam and Muon on the same batches and noise, and compares their validation losses image by image."""

from pathlib import Path
from tempfile import TemporaryDirectory

from core import RaceRules, TrainConfig, run_race
from core.race.records import RaceComparison, RaceResult

with TemporaryDirectory() as root:
    config = TrainConfig(
        dataset="glyphs", limit=256, batch_size=16, channels=(16, 16), epochs=1, device="cpu", root=root, name="race"
    )
    rules = RaceRules(steps=16, comparisons=4, images=100, samples=0)
    for record in run_race(config, {"optimizer": ["adam", "muon"], "learning_rate": [2e-3]}, rules, seeds=(0, 1)):
        if isinstance(record, RaceComparison):
            losses = "  ".join(f"{standing.loss:.4f}" for standing in record.standings)
            print(f"step {record.mark.value:3.0f}   losses {losses}")
        elif isinstance(record, RaceResult):
            best = record.candidates[record.winner - 1]
            for candidate in record.candidates:
                print(f"{candidate.label}: {candidate.verdict}")
                if candidate.difference is not None and candidate is not best:
                    low, high = candidate.difference.low, candidate.difference.high
                    print(f"  its loss is {low:+.4f} to {high:+.4f} from the best, over images and seeds")
            print("runs:", ", ".join(best.runs), "in", sorted(path.name for path in Path(root).iterdir()))
            print(record.command)
