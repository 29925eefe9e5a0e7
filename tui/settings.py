"""The user's settings file: colours, drawing, pace, keys, and what the form of a new run starts from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.config.legacy import upgrade
from core.errors import ConfigError, hint
from tui.actions import ACTIONS, check_keymap
from tui.io.engine_client import SILENCE_SECONDS
from tui.terminal.cells import DRAWINGS
from tui.terminal.frame_pacing import FASTEST, SLOWEST

THEMES = ("minidiff-dark", "minidiff-light", "minidiff-contrast", "minidiff-safe", "ansi-dark", "ansi-light")
AUTO = "auto"  # as suits the terminal
DRAWING_CHOICES = (AUTO, *DRAWINGS)


@dataclass(frozen=True)
class Settings:
    """What a person may set once for all; the command line has the last word on the first four."""

    theme: str = AUTO
    drawing: str = AUTO
    frames_per_second: float = FASTEST
    reduced_motion: bool = False
    engine_silence: float = SILENCE_SECONDS
    keys: Mapping[str, str] = field(default_factory=dict)  # by an action's id
    training: Mapping[str, Any] = field(default_factory=dict)  # options of a run


KINDS: dict[str, tuple[type, ...]] = {
    "theme": (str,),
    "drawing": (str,),
    "frames_per_second": (int, float),
    "reduced_motion": (bool,),
    "engine_silence": (int, float),
}
CHOICES = {"theme": (AUTO, *THEMES), "drawing": DRAWING_CHOICES}


def settings_path() -> Path:
    """Where the file is looked for."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("minidiff")) / "settings.toml"


def load_settings(path: Path) -> Settings:
    """The settings in the file at `path`; the defaults where there is none.

    Raises:
        ConfigError: the file cannot be read, or a setting does not exist or has a value it does not take.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    try:
        return _settings(tables)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _settings(tables: Mapping[str, Any]) -> Settings:
    for name, table in tables.items():
        if name not in ("screen", "keys", "training"):
            raise ConfigError(f"there is no table [{name}]; {hint(name, ('screen', 'keys', 'training'))}")
        if not isinstance(table, dict):
            raise ConfigError(f"{name} is a table; write [{name}] above its settings")
    screen = tables.get("screen", {})
    for name, value in screen.items():
        check(name, value)
    keys = tables.get("keys", {})
    check_keymap(keys)
    for name, value in keys.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f'keys: {name} takes key names in quotes, such as "f5" or "ctrl+r,r", not {value!r}')
    return Settings(**screen, keys=keys, training=upgrade(tables.get("training", {})))


def check(name: str, value: object) -> None:
    """Whether a setting of the screen takes a value.

    Raises:
        ConfigError: there is no such setting, or it does not.
    """
    if name not in KINDS:
        raise ConfigError(f"there is no setting {name}; {hint(name, KINDS)}")
    wanted = KINDS[name]
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        words = {str: "text in quotes", bool: "true or false"}.get(wanted[0], "a number")
        raise ConfigError(f"{name} takes {words}, not {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ConfigError(f"there is no {name} {value!r}; {hint(str(value), CHOICES[name])}")
    if name == "frames_per_second" and isinstance(value, int | float) and not SLOWEST <= value <= 60:
        raise ConfigError(f"frames_per_second takes {SLOWEST:g} to 60, not {value}")
    if name == "engine_silence" and isinstance(value, int | float) and not 3 <= value <= 3600:
        raise ConfigError(f"engine_silence takes 3 to 3600 seconds, not {value}")


def as_file() -> str:
    """A settings file with every setting at its default, to start from."""
    default = Settings()
    lines = [
        "[screen]",
        f'theme = "{default.theme}"  # auto, {", ".join(THEMES)}',
        f'drawing = "{default.drawing}"  # {", ".join(DRAWING_CHOICES)}',
        f"frames_per_second = {default.frames_per_second:g}  # at most; a slow link gets fewer",
        "reduced_motion = false  # true: nothing plays by itself",
        f"engine_silence = {default.engine_silence:g}  # seconds; an engine silent for longer is started anew",
        "",
        "[keys]  # several with commas, by the names of Textual",
    ]
    told: dict[str, str] = {}
    for action in ACTIONS:
        label = told.get(action.id)
        told[action.id] = action.label if label is None else f"{label}, {action.label}"
    for action in {action.id: action for action in ACTIONS}.values():
        lines.append(f'# "{action.id}" = "{action.keys}"  # {told[action.id]}')
    lines += ["", "[training]  # options of docs/options.md that the form starts from", "# epochs = 10"]
    return "\n".join(lines) + "\n"
