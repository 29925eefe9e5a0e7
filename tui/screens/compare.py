"""The Compare screen: up to four sampling configurations from the same noise, on one timeline."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message

from core.engine.protocol import SampleRequest
from core.errors import MinidiffError
from tui.actions import bindings
from tui.comparison import MAX_PANES, Compared, default_comparison, leader_of, resolved, same_options
from tui.io.engine_client import EngineClient
from tui.io.lead_file import CompareView, SampleView
from tui.screens.comparison_sampling import ComparisonSampling
from tui.screens.shared import Shared
from tui.state import has_valid_options, remember_comparison, remembered_comparison
from tui.terminal.frame_pacing import FramePacer
from tui.widgets.comparison_view import FOUR_PANES, ComparisonView
from tui.widgets.devices import DevicePanel
from tui.widgets.header import Header
from tui.widgets.key_bar import KeyBar
from tui.widgets.modal import ClosesOnce
from tui.widgets.sampling_controls import NEW_SEEDS, SamplingControls, config_of
from tui.widgets.timeline import Timeline

if TYPE_CHECKING:
    from core.config.training import TrainConfig

LOW = 30  # rows; below, blank lines are omitted


class CompareScreen(ComparisonSampling, ClosesOnce[None], Shared):
    """Controls for the selected pane, the panes and one timeline. All panes have the same seed and number of images.

    Args:
        engine: The engine, which sends its messages here until the screen is closed.
        root: The root directory of the runs.
        request: The options of the Sample screen.
        models: The models that can be compared.
        pacer: Limits the frame rate.
        still: Whether there is no automatic playback.
        is_following: Whether the panes are those of an app that is followed, which are not remembered.
    """

    HELP = (
        "Up to four models, samplers, step counts or guidance scales, sampled from the same noise. The controls apply "
        "to the marked pane; only this pane is sampled again when they change. Titles say what differs. All panes are "
        "shown at the same noise level, so a pane with fewer steps changes less often.\n"
        "A new pane starts as a copy of the marked one. With classes, a title counts the images that the classifier "
        "reads as the requested class; without, those that it reads as in the first pane. On a small terminal two "
        "panes are shown at a time. The panes are remembered."
    )
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = bindings("play", "compare")
    DEFAULT_CSS = """
    CompareScreen {
        SamplingControls, ComparisonView { margin: 1 1 0 1; }
        Timeline { margin: 1 0; }
        &.-low { SamplingControls, ComparisonView { margin: 0 1; } Timeline { margin: 0; } }
    }
    """

    def __init__(
        self,
        engine: EngineClient,
        root: Path,
        request: SampleRequest,
        models: list[str],
        pacer: FramePacer | None = None,
        *,
        still: bool = False,
        is_following: bool = False,
    ) -> None:
        super().__init__(engine)
        self.root = root
        self._opened_with = request
        self._models = models
        self._pacer = pacer
        self._still = still
        self._is_following = is_following
        self._previous_callback: Callable[[Message], object] | None = None  # of the engine, restored on closing
        self._generation = 0  # increases with each request to sample

    def compose(self) -> ComposeResult:
        yield Header("sample", "compare")
        yield SamplingControls(self._models)
        yield ComparisonView()
        yield Timeline(self._pacer, still=self._still)
        yield DevicePanel()
        yield KeyBar()

    @property
    def bar(self) -> SamplingControls:
        """The controls of the selected pane."""
        return self.query_one(SamplingControls)

    def on_mount(self) -> None:
        """Show and sample the remembered panes, or the options of the Sample screen and what they compare with."""
        self._previous_callback = self.engine.redirect(self.post_message)
        if not self._is_following:
            self.call_after_refresh(self._open)  # later, because the app handles no keys until this handler returns

    async def _open(self) -> None:
        try:
            config = await asyncio.to_thread(config_of, self._opened_with.model, self.root)
        except MinidiffError as error:
            self._show_error(error)
            return
        request = self._opened_with = resolved(self._opened_with, config)
        origin, *panes = remembered_comparison() or [request]
        panes = [pane for pane in panes if pane.model in self._models][:MAX_PANES]
        if not panes or origin.model != request.model:
            panes = [request, default_comparison(request, config, self._models)]
        elif not same_options(origin, request):
            panes[0] = request
        await self.show_panes([dataclasses.replace(pane, n=request.n, seed=request.seed) for pane in panes])

    async def show_panes(self, requests: Sequence[SampleRequest]) -> None:
        """Show and sample these requests, all with the seed and the number of images of the first, and select the last.

        Those whose model cannot be read are omitted, with a notification.
        """
        sides = []
        for options in requests[:MAX_PANES]:
            try:
                config = await asyncio.to_thread(config_of, options.model, self.root)
            except MinidiffError as error:
                self._show_error(error)
            else:
                request = dataclasses.replace(options, n=requests[0].n, seed=requests[0].seed)
                sides.append(Compared(resolved(request, config), config))
        if sides:
            self.sides, self.selected = sides, len(sides) - 1
            self._show_options()
            await self._sample(sides)

    def on_unmount(self) -> None:
        """Return the engine to the screen below."""
        self._release_engine()

    def _release_engine(self) -> None:
        if self._previous_callback is not None:
            self.engine.redirect(self._previous_callback)
            self._previous_callback = None
            self._generation += 1  # discards a request in preparation
            self._pending.clear()
            if self.sides and not self._is_following:
                try:
                    remember_comparison([self._opened_with, *(side.request for side in self.sides)])
                except OSError as error:
                    self.app.notify(f"cannot save the panes: {error.strerror}", severity="warning")

    def on_resize(self, event: events.Resize) -> None:
        """Omit blank lines on a low terminal."""
        self.set_class(event.size.height < LOW, "-low")
        self.call_after_refresh(self._update_view)

    def _show_options(self) -> None:
        """Show the options of the selected pane."""
        side = self.sides[self.selected]
        try:
            self.bar.select_model(side.request.model)
        except MinidiffError as error:
            self._show_error(error)
            return
        self.bar.set_config(side.config)
        self.bar.set_request(side.request)

    # Leading and following

    @property
    def shared_view(self) -> CompareView:
        """The panes, the marked one and the step."""
        return CompareView(
            panes=tuple(side.request for side in self.sides),
            selected=self.selected,
            step=self.timeline.position,
            states=self.view.show_states,
        )

    async def follow(self, view: CompareView | SampleView) -> None:
        """Sample the same panes, only those that differ, and show the same step; or return to the Sample screen.

        Raises:
            MinidiffError: a model is missing here, or is another one than the leader's.
        """
        if isinstance(view, SampleView):
            self.action_close()
            return
        if view.panes and view.panes != self.shared_view.panes:
            await self._follow_panes(view.panes)
        if self.sides and self.selected != (selected := min(max(view.selected, 0), len(self.sides) - 1)):
            self.selected = selected
            self._show_options()
            self._update_view()
        if self.view.show_states != view.states:
            self.action_state()
        self.timeline.seek(view.step)

    async def _follow_panes(self, panes: Sequence[SampleRequest]) -> None:
        found, sides, changed = list(self.sides), list[Compared](), []
        for pane in panes[:MAX_PANES]:
            if pane.model not in self._models:
                raise MinidiffError(f"there is no model {pane.model} here")
            if not has_valid_options(pane):
                raise MinidiffError(f"a pane of {pane.model} has invalid options")
            request = dataclasses.replace(pane, n=panes[0].n, seed=panes[0].seed)
            side = next((side for side in found if side.request == request), None)
            if side is None:
                config = await asyncio.to_thread(config_of, pane.model, self.root)
                side = Compared(resolved(request, config), config)
                changed.append(side)
            else:
                found.remove(side)
            sides.append(side)
        self.sides, self.selected = sides, min(self.selected, len(sides) - 1)
        self._show_options()
        await self._sample(changed)
        if self.shared_view.panes != tuple(panes):
            raise MinidiffError("not all panes can be shown: a model here differs from the leader's")

    # Sampling

    async def on_sampling_controls_submitted(self) -> None:
        """Sample with the current values of the controls."""
        await self.action_sample()

    async def action_sample(self) -> None:
        """Sample the selected pane if its options changed; all panes if nothing, the seed or the number did."""
        if not await self._apply():
            await self._sample(self.sides)

    async def _apply(self) -> bool:
        """Sample what differs from the controls. Returns whether anything did, or the controls are invalid."""
        if not self.sides:
            return True
        self._generation += 1
        generation, selected = self._generation, self.sides[self.selected]
        try:
            request, config = await self._read()
        except MinidiffError as error:
            self._show_error(error)
            return True
        if generation != self._generation or selected not in self.sides:
            return True  # superseded by a newer request
        selected.config = config
        changed = []
        for side in self.sides:
            options = request if side is selected else side.request
            new = dataclasses.replace(options, n=request.n, seed=request.seed)
            if new != side.request or side.error:
                side.request = new
                changed.append(side)
        if changed:
            await self._sample(changed)
        return bool(changed)

    async def _read(self) -> tuple[SampleRequest, TrainConfig]:
        """The request in the controls, and the config of its model."""
        model = self.bar.model
        if model is None:
            raise MinidiffError("there is no model to sample from; train one first (key 2)")
        config = await asyncio.to_thread(config_of, model, self.root)
        self.bar.set_config(config)
        request = self.bar.read()
        self.bar.set_request(request)
        return request, config

    # Actions

    async def action_new_seed(self) -> None:
        """Sample all panes with a random seed."""
        self.bar.seed = random.randrange(NEW_SEEDS)
        await self.action_sample()

    def action_sampler(self, by: int) -> None:
        """Sample the selected pane with another sampler."""
        self.bar.step_sampler(by)

    async def action_select(self, by: int) -> None:
        """Apply the controls, and select another pane."""
        if self.sides:
            await self._select((self.selected + by) % len(self.sides))

    async def _select(self, index: int) -> None:
        await self._apply()
        if index < len(self.sides):
            self.selected = index
            self._show_options()
            self._update_view()

    async def on_click(self, event: events.Click) -> None:
        """Select the pane that is clicked."""
        for index in self.view.in_view:
            if event.widget is not None and self.view.pane_of(index) in event.widget.ancestors_with_self:
                await self._select(index)

    async def action_add(self) -> None:
        """Add a copy of the selected pane, with its images, and select it."""
        if not self.sides:
            return
        if len(self.sides) >= self.view.capacity:
            enough = len(self.sides) == MAX_PANES
            fix = "remove one first (backspace)" if enough else "enlarge the terminal to {}x{}".format(*FOUR_PANES)
            self._show_error(f"no room for another pane; {fix}")
            return
        await self._apply()
        side = dataclasses.replace(self.sides[self.selected])
        self.selected += 1
        self.sides.insert(self.selected, side)
        if side.complete:
            self._update_view()
            return
        side.reset()
        self._pending.append(side)
        if self._sampled is None:
            await self._sample_next()
        else:
            self._update_view()

    async def action_remove(self) -> None:
        """Remove the selected pane."""
        if len(self.sides) < 2:
            return
        side, leader = self.sides[self.selected], leader_of(self.sides)
        self.sides.remove(side)
        self._pending = [other for other in self._pending if other is not side]
        self.selected = max(0, self.selected - 1)
        self._show_options()
        if side is leader:
            leader = leader_of(self.sides)
            if leader.complete:
                self.timeline.replace_steps(leader.steps, [frame.t for frame in leader.frames])
            else:
                self._load_timeline()
        if side is self._sampled:
            await self._sample_next()
        else:
            self._update_view()

    def action_state(self) -> None:
        """Switch between noisy states and predictions."""
        self.view.show_states = not self.view.show_states
        self.on_timeline_moved()

    def action_close(self) -> None:
        """Return to the Sample screen."""
        self._release_engine()  # before the Sample screen resumes
        self.dismiss()
