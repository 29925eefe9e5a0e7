"""The settings: the file, the Settings screen, and previews of themes."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest
from textual.widgets import OptionList

from core.errors import ConfigError
from tui.app import MinidiffApp
from tui.screens.settings import SettingsScreen
from tui.settings import SETTINGS, Settings, as_file, check, load_settings, save_setting
from tui.widgets.timeline import Timeline


def test_a_saved_setting_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "settings.toml"
    save_setting(file, "theme", "nord")
    save_setting(file, "frames_per_second", 12.0)
    save_setting(file, "reduced_motion", True)
    save_setting(file, "theme", "gruvbox")
    expected = Settings(theme="gruvbox", frames_per_second=12.0, reduced_motion=True)
    assert load_settings(file) == (expected, [])


def test_saving_keeps_comments_other_tables_and_unknown_entries(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('# mine\n[keys]\n"app.help" = "f1"\n\n[ screen ]  # here\ntheme = "nord" # dark\nlater = 3\n')
    save_setting(file, "theme", "auto")
    save_setting(file, "drawing", "half")
    text = file.read_text()
    assert text.startswith('# mine\n[keys]\n"app.help" = "f1"\n\n[ screen ]  # here\n')
    assert 'theme = "auto" # dark\n' in text
    screen = {"theme": "auto", "drawing": "half", "later": 3}
    assert tomllib.loads(text) == {"keys": {"app.help": "f1"}, "screen": screen}


@pytest.mark.parametrize("content", [b"[screen", b"\xff", b"screen = 3\n", b'screen = {theme = "nord"}\n'])
def test_a_file_that_cannot_be_edited_is_left_alone(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot save theme"):
        save_setting(file, "theme", "auto")
    assert file.read_bytes() == content


def test_invalid_entries_are_skipped_and_named(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[screen]\ntheme = "later"\ndrawing = "half"\nframes_per_second = 900\n[later]\n')
    settings, problems = load_settings(file)
    assert settings == Settings(drawing="half")
    assert [text for text in ("unknown table", "unknown theme", "from 4 to 60") if text not in str(problems)] == []


def test_every_setting_of_the_screen_is_in_the_table_and_its_values_are_valid(tmp_path: Path) -> None:
    names = {field.name for field in dataclasses.fields(Settings)} - {"keys", "training"}
    assert {setting.name for setting in SETTINGS} == names
    for setting in SETTINGS:
        for value in (setting.default, *setting.choices, *setting.numbers):
            check(setting.name, value)
    (tmp_path / "settings.toml").write_text(as_file())
    assert load_settings(tmp_path / "settings.toml") == (Settings(), [])


async def test_the_screen_lists_all_settings_applies_them_at_once_and_saves_them(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    app = MinidiffApp(tmp_path, settings_file=file, overrides={"frames_per_second": 8.0})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f2")
        assert isinstance(app.screen, SettingsScreen)
        options = app.screen.query_one(OptionList)
        rows = [str(options.get_option_at_index(at).prompt) for at in range(options.option_count)]
        assert [setting.label in row for setting, row in zip(SETTINGS, rows, strict=True)] == [True] * len(SETTINGS)
        assert "--frames overrides the saved value, 30" in next(row for row in rows if "Frames" in row)
        await pilot.press("down", "right", "down", "down", "right", "down", "enter", "escape")
        assert (app.drawing, app.pacer.fastest) == ("half", 10)
        assert app.screen.query_one(Timeline).still
    expected = Settings(drawing="half", frames_per_second=10, reduced_motion=True)
    assert load_settings(file) == (expected, [])


async def test_a_theme_is_previewed_and_escape_returns_to_the_former_one(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    app = MinidiffApp(tmp_path, settings=Settings(theme="minidiff-dark"), settings_file=file)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+t", "down")
        assert app.theme == "minidiff-light"
        await pilot.press("escape")
        assert app.theme == app.settings.theme == "minidiff-dark"
        assert not file.exists()
        await pilot.press("ctrl+t", "down", "down", "enter")
        await pilot.pause()
        assert app.theme == "minidiff-contrast"
    assert load_settings(file) == (Settings(theme="minidiff-contrast"), [])


async def test_a_setting_that_cannot_be_saved_is_applied_with_a_notice(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = MinidiffApp(tmp_path, settings_file=tmp_path / "file" / "settings.toml")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f2", "down", "right")
        assert app.drawing == "half"
        assert "cannot save drawing" in str([notice.message for notice in app._notifications])
