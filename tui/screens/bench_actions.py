"""Base class of the Lab screen: actions on the visible bench."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Any

from textual import work

from core.errors import MinidiffError
from tui.lab.bench import Bench, ExportPanel
from tui.lab.inside import InsideBench
from tui.lab.kernel_fields import KernelBench
from tui.lab.lab_input import LabInput
from tui.lab.plane import PlaneBench
from tui.lab.subject import SubjectFields
from tui.screens.playback import Playback
from tui.widgets.dialogs import NameDialog
from tui.widgets.timeline import Timeline

MAX_PATH = 1_000  # characters
PLAYBACK = ("play", "step", "seek", "loop", "faster")  # actions of benches with a timeline
# Actions of some benches only.
BENCHES: dict[str, type[Bench[Any]]] = {
    "skips": InsideBench,
    "channel": InsideBench,
    "common_range": InsideBench,
    "another_noise": PlaneBench,
    "another_network": PlaneBench,
    "another_kernel": KernelBench,
}


class BenchActions(Playback):
    """A screen with several benches, of which one is visible."""

    @property
    def bench(self) -> Bench[Any]:
        """The visible bench."""
        raise NotImplementedError

    @property
    def fields(self) -> SubjectFields:
        """The image and the model that the benches share."""
        return self.query_one(SubjectFields)

    @property
    def subject(self) -> LabInput:
        """The image and the model that the benches work on.

        Raises:
            MinidiffError: The image field does not hold the index of a test image, which the visible bench needs.
        """
        return self.fields.read(check_image=self.bench.USES_IMAGE)

    @property
    def timeline(self) -> Timeline:
        """The timeline of the visible bench."""
        return self.bench.query_one(Timeline)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide the keys that do not apply to the visible bench."""
        if not self.is_mounted:
            return super().check_action(action, parameters)
        if action in PLAYBACK:
            return self.bench.timeline is not None
        if action == "view":
            return self.bench.has_more_views
        if action == "another_image":
            return self.bench.USES_IMAGE
        if action in BENCHES:
            return isinstance(self.bench, BENCHES[action])
        return super().check_action(action, parameters)

    def action_view(self) -> None:
        """Show the bench's next view."""
        self.bench.next_view()

    def action_another_image(self) -> None:
        """Choose a random test image."""
        self.fields.choose_another()

    def action_another_noise(self) -> None:
        """Start the particles from other noise."""
        if isinstance(self.bench, PlaneBench):
            self.bench.change_noise()

    def action_another_network(self) -> None:
        """Train another network."""
        if isinstance(self.bench, PlaneBench):
            self.bench.change_network()

    def action_another_kernel(self) -> None:
        """Choose a random kernel."""
        if isinstance(self.bench, KernelBench):
            self.bench.randomize()

    def action_skips(self) -> None:
        """Switch skip connections on or off."""
        if isinstance(self.bench, InsideBench):
            self.bench.toggle_skips()

    def action_channel(self, by: int) -> None:
        """Choose the next channel of the feature maps, or the previous one."""
        if isinstance(self.bench, InsideBench):
            self.bench.choose_channel(by)

    def action_common_range(self) -> None:
        """Give all feature maps one range, or each its own."""
        if isinstance(self.bench, InsideBench):
            self.bench.toggle_common_range()

    async def action_export(self) -> None:
        """Export what is shown as an image and as Python code that computes it."""
        try:
            panels, script = self.bench.panels(), self.bench.script(self.subject)
        except MinidiffError as error:
            self.bench.show_error(str(error))
            return
        start = str(Path.cwd() / f"lab-{self.bench.NAME}")
        question = "Save the image (.png) and the Python code (.py) as"
        await self.app.push_screen(
            NameDialog(question, start, max_length=MAX_PATH), partial(self._export, panels, script)
        )

    def _export(self, panels: list[ExportPanel], script: list[str], stem: str | None) -> None:
        if stem:
            self._write(panels, script, Path(os.path.expanduser(stem)))

    @work(group="export")
    async def _write(self, panels: list[ExportPanel], script: list[str], stem: Path) -> None:
        from core.export import images  # loads Pillow, which nothing else here needs

        try:
            picture = await asyncio.to_thread(images.write_panels, stem.with_name(f"{stem.name}.png"), panels)
            await asyncio.to_thread(images.write_script, stem.with_name(f"{stem.name}.py"), script)
        except MinidiffError as error:
            self.notify(str(error), severity="error", timeout=8)
        else:
            self.notify(f"Saved {picture} and {stem.name}.py", timeout=8)
