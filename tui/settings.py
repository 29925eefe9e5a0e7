"""The user's settings: their table, the settings file, and the values that the command line overrides."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.theme import BUILTIN_THEMES

from core.config.legacy import upgrade
from core.errors import ConfigError, hint
from core.system.atomic_write import write_atomically
from tui.actions import ACTIONS, check_keymap
from tui.io.engine_client import SILENCE_SECONDS
from tui.terminal.cells import DRAWINGS
from tui.terminal.color_maps import COLOR_MAPS, GREY
from tui.terminal.frame_pacing import FASTEST, SLOWEST

THEMES = ("minidiff-dark", "minidiff-light", "minidiff-contrast", "minidiff-safe", "ansi-dark", "ansi-light")
AUTO = "auto"  # depends on the terminal
DRAWING_CHOICES = (AUTO, *DRAWINGS)
ALL_THEMES = (*THEMES, *sorted(set(BUILTIN_THEMES) - set(THEMES)))
TABLES = ("screen", "keys", "training")


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


@dataclass(frozen=True)
class Setting:
    """One field of `Settings` in the table [screen] of the file and on the Settings screen."""

    name: str
    label: str
    help: str
    choices: tuple[str, ...] = ()  # of a text
    numbers: tuple[float, ...] = ()  # offered by the screen; the file may have any from the first to the last
    option: str = ""  # that overrides it on the command line

    @property
    def default(self) -> str | bool | float:
        """Its default, which also has its type."""
        value = getattr(Settings(), self.name)
        assert isinstance(value, str | bool | float)
        return value


# The table behind the file, the command line and the Settings screen: a field of `Settings` needs one line here.
SETTINGS = (
    Setting("theme", "Theme", "Colors of the app", (AUTO, *ALL_THEMES), option="--theme"),
    Setting("drawing", "Images", "How images are drawn", DRAWING_CHOICES, option="--drawing"),
    Setting("color_map", "Color map", "Colors of gray images", COLOR_MAPS, option="--color-map"),
    Setting(
        "frames_per_second",
        "Frames per second",
        "Maximum; a lower value sends less over a slow connection",
        numbers=(SLOWEST, 5, 8, 10, 12, 15, 20, 24, FASTEST, 60),
        option="--frames",
    ),
    Setting("reduced_motion", "Reduced motion", "No automatic playback and no animations", option="--reduced-motion"),
    Setting(
        "engine_silence",
        "Engine timeout",
        "Seconds without a reply until sampling is restarted",
        numbers=(3, 10, 30, 60, 120, 300, 600, 3600),
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}


def settings_path() -> Path:
    """Default path of the settings file."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("minidiff")) / "settings.toml"


def load_settings(path: Path) -> tuple[Settings, list[str]]:
    """Load the settings file at `path`, without its invalid entries, and one line for each of these.

    Without a file, these are the defaults. An unreadable file, or one that is not TOML, counts as one invalid entry.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings(), []
    except OSError as error:
        return Settings(), [f"cannot read {path}: {error.strerror}"]
    except (ValueError, RecursionError) as error:
        return Settings(), [f"{path} is not valid TOML: {error}"]
    problems: list[str] = []

    def valid(name: str, checked: Any) -> dict[str, Any]:
        table = tables.get(name, {})
        if not isinstance(table, dict):
            problems.append(f"{path}: {name} must be a table; write [{name}] above its settings")
            return {}
        kept = {}
        for key, value in table.items():
            try:
                checked(key, value)
            except ConfigError as error:
                problems.append(f"{path}: {error}")
            else:
                kept[key] = value
        return kept

    problems += [f"{path}: unknown table [{name}]; {hint(name, TABLES)}" for name in tables if name not in TABLES]
    screen, keys = valid("screen", check), valid("keys", _check_key)
    training = valid("training", lambda *_: None)
    return Settings(**screen, keys=keys, training=upgrade(training)), problems


def _check_key(name: str, value: object) -> None:
    check_keymap([name])
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f'keys: {name} must be a string such as "f5" or "ctrl+r,r", not {value!r}')


def check(name: str, value: object) -> None:
    """Check one setting of the table [screen].

    Raises:
        ConfigError: the setting is unknown or `value` is invalid.
    """
    if name not in BY_NAME:
        raise ConfigError(f"unknown setting {name}; {hint(name, BY_NAME)}")
    setting = BY_NAME[name]
    kind = type(setting.default)
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name} must be {_KINDS[kind]}, not {value!r}")
    if setting.choices and value not in setting.choices:
        raise ConfigError(f"unknown {name} {value!r}; {hint(str(value), setting.choices)}")
    if setting.numbers and isinstance(value, int | float):
        low, high = setting.numbers[0], setting.numbers[-1]
        if not low <= value <= high:
            raise ConfigError(f"{name} must be from {low:g} to {high:g}, not {value}")


_KINDS = {str: "a string", bool: "true or false", float: "a number"}


def save_setting(path: Path, name: str, value: str | bool | float) -> None:
    """Write one setting of the table [screen] to the settings file; its other lines and comments are kept.

    Raises:
        ConfigError: the file is not valid TOML, or cannot be read or written. It is unchanged.
    """
    check(name, value)
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        tables = tomllib.loads(old)
        new = _replaced(old, name, json.dumps(value))
        if tomllib.loads(new) != {**tables, "screen": {**tables.get("screen", {}), name: value}}:
            raise ConfigError(f"cannot save {name} in {path}: set it there")  # e.g. a table written in braces
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path.resolve(), new.encode())  # a link to a file elsewhere stays a link
    except OSError as error:
        raise ConfigError(f"cannot save {name} in {path}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError):
        raise ConfigError(f"cannot save {name}: {path} is not valid TOML") from None


def _replaced(text: str, name: str, value: str) -> str:
    """`text` of a TOML file with another value of `name` in its table [screen]; a comment behind it is kept."""
    lines = text.splitlines()
    start = next((at for at, line in enumerate(lines) if re.match(r"\s*\[\s*screen\s*\]", line)), None)
    if start is None:
        return f"[screen]\n{name} = {value}\n{chr(10) if lines else ''}{text}"
    for at in range(start + 1, len(lines)):
        if re.match(r"\s*\[", lines[at]):
            break
        if match := re.match(rf"\s*{name}\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^#\s]+)(\s*#.*)?\s*$", lines[at]):
            lines[at] = f"{name} = {value}{match[1] or ''}"
            return "\n".join(lines) + "\n"
    lines.insert(start + 1, f"{name} = {value}")
    return "\n".join(lines) + "\n"


def as_file() -> str:
    """Text of a settings file that lists all settings with their defaults."""
    lines = ["[screen]"]
    for setting in SETTINGS:
        remark = f": {', '.join(setting.choices)}" if setting.choices else ""
        if setting.numbers:
            remark = f": from {setting.numbers[0]:g} to {setting.numbers[-1]:g}"
        default = setting.default
        value = f"{default:g}" if isinstance(default, float) else json.dumps(default)
        lines.append(f"{setting.name} = {value}  # {setting.help}{remark}")
    lines += ["", "[keys]  # Textual key names, separated by commas"]
    labels: dict[str, list[str]] = {}
    for action in ACTIONS:
        labels.setdefault(action.id, []).append(action.label)
    for action in {action.id: action for action in ACTIONS}.values():
        lines.append(f'# "{action.id}" = "{action.keys}"  # {", ".join(labels[action.id])}')
    lines += ["", "[training]  # defaults of the form; see docs/options.md", "# epochs = 10"]
    return "\n".join(lines) + "\n"
