"""Base class of the screens that others can follow."""

from __future__ import annotations

from typing import Any

from tui.io.lead_file import View


class Shared:
    """A screen that describes what it shows, and shows what the same screen of another app describes."""

    @property
    def shared_view(self) -> View:
        """What the screen shows."""
        raise NotImplementedError

    async def follow(self, view: Any) -> None:
        """Show a view of this screen, as far as it can be shown yet; called again until it is shown.

        Raises:
            MinidiffError: it cannot be shown here; the message says what is missing.
        """
        raise NotImplementedError
