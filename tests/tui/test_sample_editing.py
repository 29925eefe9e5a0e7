"""The Sample screen: exports, start images, interpolation and the nearest training images."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from PIL import Image
from sample_screen import notifications, sample_tiny, screen_of, text_of
from textual.widgets import Input, OptionList, Static
from waiting import until

from core.runs.directory import CONFIG, MODEL
from tui.app import MinidiffApp
from tui.messages import ImagesInverted
from tui.screens.draw import MaskScreen
from tui.screens.export import ExportScreen
from tui.screens.nearest import NearestScreen
from tui.screens.sample import SampleScreen
from tui.widgets.image_grid import ImageGrid

if TYPE_CHECKING:
    from textual.pilot import Pilot


async def test_exports_are_written_and_their_paths_shown(model_root: Path, tmp_path: Path) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot)
        for choice, start in enumerate((b"\x89PNG", b"\x89PNG", b"GIF8")):
            await pilot.press("e")
            await pilot.pause()
            app.screen.query_one(Input).value = str(tmp_path)
            count = len(notifications(app))
            await pilot.press(*["down"] * choice, "enter")
            await until(pilot, lambda count=count: len(notifications(app)) > count, "a notification is shown")
            assert notifications(app)[-1].startswith("wrote ")
            written = Path(notifications(app)[-1].removeprefix("wrote "))
            assert written.parent == tmp_path
            assert written.read_bytes().startswith(start)


async def test_an_export_dialog_opened_during_sampling_exports_the_whole_trajectory(
    model_root: Path, tmp_path: Path
) -> None:
    app = MinidiffApp(model_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot)
        screen = screen_of(app)
        engine = psutil.Process(screen.engine.pid)
        screen.bar.query_one("#steps", Input).value = "300"
        await pilot.press("enter")
        await until(pilot, lambda: screen.denoising is not None and screen.denoising.steps == 300, "sampling started")
        engine.suspend()
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, ExportScreen), "the dialog is open")
        kinds = app.screen.query_one(OptionList)
        note = app.screen.query_one("#unfinished")
        if screen.denoising is not None and not screen.denoising.complete:
            assert kinds.get_option("gif").disabled
            assert note.display
        engine.resume()
        await until(pilot, lambda: not kinds.get_option("gif").disabled, "all steps are sampled")
        assert not note.display
        app.screen.query_one(Input).value = str(tmp_path)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: notifications(app)[-1:] != [] and "wrote" in notifications(app)[-1], "it is written")
        (written,) = tmp_path.glob("*.gif")
        assert "300steps" in written.name
        with Image.open(written) as image:
            assert getattr(image, "n_frames") > 100  # noqa: B009 - Pillow's types do not have it


async def test_an_export_that_cannot_be_written_shows_a_notification(model_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    app = MinidiffApp(model_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await sample_tiny(app, pilot)
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(Input).value = str(tmp_path / "file" / "below")
        await pilot.press("enter")
        await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
        assert "cannot write" in notifications(app)[-1]


async def choose(app: MinidiffApp, pilot: Pilot[None], key: str, **values: str) -> None:
    """Fill in the dialog that a key opens, and press enter."""
    await pilot.press("escape", key)
    await pilot.pause()
    for name, value in values.items():
        app.screen.query_one(f"#{name}", Input).value = value
    await pilot.press("enter")
    await pilot.pause()


def finished(app: MinidiffApp, words: str) -> bool:
    """Whether a complete trajectory is shown with these words in its caption, or in that of the start image."""
    screen = app.screen_stack[0]
    assert isinstance(screen, SampleScreen)
    shown = screen.denoising
    complete = shown is not None and shown.complete and not screen.engine.busy
    names = ("predicted", "start") if screen.query_one("#start").display else ("predicted",)
    return complete and any(words in text_of(app, f"#{name}-caption") for name in names)


async def test_samples_start_from_an_image_file_a_part_of_it_or_between_two_seeds(
    rgb_root: Path, tmp_path: Path
) -> None:
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(tmp_path / "a.png")
    app = MinidiffApp(rgb_root)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = screen_of(app)
        await pilot.press("m")
        assert "start from first (t or w)" in notifications(app)[-1]
        await sample_tiny(app, pilot, steps=2, model="sprites")
        await choose(app, pilot, "t", image=str(tmp_path / "a.png"), amount="0.5")
        await until(pilot, lambda: finished(app, "from a.png at noise 0.5"), "the image is the start")
        assert "class any" in text_of(app, "#noisy-caption")
        await pilot.press("m", "space", "enter")
        await until(pilot, lambda: finished(app, "inpainting a.png"), "a part is generated")
        start, shown = screen.start_image, screen.denoising
        assert start is not None
        assert shown is not None
        inside = {(row * 16 + column) * 3 for row in (5, 6, 7) for column in (7, 8, 9)}
        for image in (shown.frames[-1].x[: len(start)], shown.frames[-1].x[len(start) :]):
            changed = {at for at in range(0, len(start), 3) if image[at : at + 3] != start[at : at + 3]}
            assert changed
            assert changed <= inside
        await pilot.press("n")  # the mask and the image are kept
        await until(pilot, lambda: finished(app, "inpainting a.png") and screen.denoising is not shown, "other noise")
        await pilot.press("m")
        assert isinstance(app.screen, MaskScreen)
        await pilot.press("backspace", "enter")
        await until(pilot, lambda: finished(app, "from a.png at noise 0.6"), "the mask is removed")
        await choose(app, pilot, "t", image="")
        await until(pilot, lambda: finished(app, "dpm2m") and not finished(app, "a.png"), "it starts from noise")
        await pilot.press("w", "space", "enter")
        await until(pilot, lambda: finished(app, "from a drawing ("), "the drawing is the start")
        assert screen.start_image is not None
        assert max(screen.start_image) == 255
        await choose(app, pilot, "t", amount="0.3")
        await until(pilot, lambda: finished(app, "at noise 0.3"), "the noise level is another")
        await choose(app, pilot, "i", first="3", last="a seed")
        assert "a seed is neither a number" in str(app.screen.query_one("#message", Static).render())
        app.screen.query_one("#last", Input).value = "8"
        await pilot.press("enter")
        await until(pilot, lambda: finished(app, "between seeds 3 and 8"), "it is interpolated")
        screen.post_message(ImagesInverted(12, 50))  # as before images are interpolated
        await until(pilot, lambda: "live inverting, step 12 of 50" in text_of(app, "#predicted-caption"), "it is shown")
        screen.post_message(ImagesInverted(50, 50))
        await until(pilot, lambda: "inverting" not in text_of(app, "#predicted-caption"), "it is over")
        await choose(app, pilot, "i", first="", last="")
        await until(pilot, lambda: finished(app, "dpm2m") and not finished(app, "seeds"), "it starts from noise again")


async def test_a_start_that_cannot_be_read_keeps_the_dialog_open_or_the_start_as_it_was(
    rgb_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("not an image")
    app = MinidiffApp(rgb_root)
    async with app.run_test(size=(120, 40)) as pilot:
        await sample_tiny(app, pilot, steps=2, model="sprites")
        for values, words in (
            ({"image": "missing.png"}, "missing.png is neither a number (test image) nor a file"),
            ({"image": "1000"}, "test image must be a number from 0 to 999, not 1000"),
            ({"image": "7", "amount": "2"}, "noise level must be from 0.0001 to 1, not 2"),
        ):
            await choose(app, pilot, "t", **values)
            assert words in str(app.screen.query_one("#message", Static).render())
            await pilot.press("escape")
        await choose(app, pilot, "t", image=str(tmp_path / "notes.txt"))
        await until(pilot, lambda: bool(notifications(app)), "a notification is shown")
        assert "not an image" in notifications(app)[-1]
        await pilot.press("n")
        await until(pilot, lambda: finished(app, "dpm2m"), "it starts from noise again")


async def test_the_nearest_training_image_is_shown_beside_each_sample(model_root: Path, tmp_path: Path) -> None:
    """And one sentence if the training images are not known, as for `tiny`."""
    from core.models.weights import read_weights, write_tensors

    weights, config, step, _ = read_weights(model_root / "tiny" / MODEL)
    drawn = config.model_copy(update={"dataset": "glyphs", "limit": 64})
    shutil.copytree(model_root / "tiny", tmp_path / "tiny")
    (tmp_path / "drawn").mkdir()
    write_tensors(tmp_path / "drawn" / MODEL, "model", weights, drawn, step)
    (tmp_path / "drawn" / CONFIG).write_text(drawn.to_toml())
    app = MinidiffApp(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("k")
        assert notifications(app)
        for model, words in (("tiny", "does not say on which images it was trained"), ("drawn", "root mean square")):
            await sample_tiny(app, pilot, steps=2, digits=3, model=model)
            await until(pilot, lambda: not screen_of(app).engine.busy, "the engine is idle")
            await pilot.press("k")
            screen = app.screen
            assert isinstance(screen, NearestScreen)
            note = screen.query_one("#note", Static)
            await until(pilot, lambda note=note, words=words: words in str(note.render()), f"{words} is shown")
            if model == "drawn":
                reply = screen.reply
                assert reply is not None
                await pilot.pause()
                grid = screen.query_one(ImageGrid)
                drawn_text = "".join(s.text for y in range(grid.size.height) for s in grid.render_line(y))
                assert all(f"{distance:.3f}" in drawn_text for distance in reply.distances)
            await pilot.press("escape")
        await pilot.press("n")  # the engine's messages reach the Sample screen again
        await until(pilot, lambda: finished(app, ""), "a new seed is sampled")
