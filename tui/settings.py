"""The user's settings file: theme, drawing, frame rate, key bindings and default options of new runs."""

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
from tui.terminal.color_maps import COLOR_MAPS, GREY
from tui.terminal.frame_pacing import FASTEST, SLOWEST

THEMES = ("minidiff-dark", "minidiff-light", "minidiff-contrast", "minidiff-safe", "ansi-dark", "ansi-light")
AUTO = "auto"  # depends on the terminal
DRAWING_CHOICES = (AUTO, *DRAWINGS)


@dataclass(frozen=True)
class Settings:
    """All settings. Command-line options override the first five."""

    theme: str = AUTO
    drawing: str = AUTO
    color_map: str = GREY
    frames_per_second: float = FASTEST
    reduced_motion: bool = False
    engine_silence: float = SILENCE_SECONDS
    keys: Mapping[str, str] = field(default_factory=dict)  # action id -> keys
    training: Mapping[str, Any] = field(default_factory=dict)  # `TrainConfig` option -> value


KINDS: dict[str, tuple[type, ...]] = {
    "theme": (str,),
    "drawing": (str,),
    "color_map": (str,),
    "frames_per_second": (int, float),
    "reduced_motion": (bool,),
    "engine_silence": (int, float),
}
CHOICES = {"theme": (AUTO, *THEMES), "drawing": DRAWING_CHOICES, "color_map": COLOR_MAPS}


def settings_path() -> Path:
    """Default path of the settings file."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("minidiff")) / "settings.toml"


def load_settings(path: Path) -> Settings:
    """Load the settings file at `path`. Returns the defaults if there is no such file.

    Raises:
        ConfigError: the file is unreadable or invalid.
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
            raise ConfigError(f"unknown table [{name}]; {hint(name, ('screen', 'keys', 'training'))}")
        if not isinstance(table, dict):
            raise ConfigError(f"{name} must be a table; write [{name}] above its settings")
    screen = tables.get("screen", {})
    for name, value in screen.items():
        check(name, value)
    keys = tables.get("keys", {})
    check_keymap(keys)
    for name, value in keys.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f'keys: {name} must be a string such as "f5" or "ctrl+r,r", not {value!r}')
    return Settings(**screen, keys=keys, training=upgrade(tables.get("training", {})))


def check(name: str, value: object) -> None:
    """Check one setting of the table [screen].

    Raises:
        ConfigError: the setting is unknown or `value` is invalid.
    """
    if name not in KINDS:
        raise ConfigError(f"unknown setting {name}; {hint(name, KINDS)}")
    types = KINDS[name]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        expected = {str: "a string", bool: "true or false"}.get(types[0], "a number")
        raise ConfigError(f"{name} must be {expected}, not {value!r}")
    if name in CHOICES and value not in CHOICES[name]:
        raise ConfigError(f"unknown {name} {value!r}; {hint(str(value), CHOICES[name])}")
    if name == "frames_per_second" and isinstance(value, int | float) and not SLOWEST <= value <= 60:
        raise ConfigError(f"frames_per_second must be from {SLOWEST:g} to 60, not {value}")
    if name == "engine_silence" and isinstance(value, int | float) and not 3 <= value <= 3600:
        raise ConfigError(f"engine_silence must be from 3 to 3600 seconds, not {value}")


def as_file() -> str:
    """Text of a settings file that lists all settings with their defaults."""
    default = Settings()
    lines = [
        "[screen]",
        f'theme = "{default.theme}"  # auto, {", ".join(THEMES)}',
        f'drawing = "{default.drawing}"  # {", ".join(DRAWING_CHOICES)}',
        f'color_map = "{default.color_map}"  # of grey images: {", ".join(COLOR_MAPS)}',
        f"frames_per_second = {default.frames_per_second:g}  # maximum; lower on a slow connection",
        "reduced_motion = false  # true: no autoplay and no animations",
        f"engine_silence = {default.engine_silence:g}  # seconds without a reply until the engine is restarted",
        "",
        "[keys]  # Textual key names, separated by commas",
    ]
    labels: dict[str, list[str]] = {}
    for action in ACTIONS:
        labels.setdefault(action.id, []).append(action.label)
    for action in {action.id: action for action in ACTIONS}.values():
        lines.append(f'# "{action.id}" = "{action.keys}"  # {", ".join(labels[action.id])}')
    lines += ["", "[training]  # defaults of the form; see docs/options.md", "# epochs = 10"]
    return "\n".join(lines) + "\n"
