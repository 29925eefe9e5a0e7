"""Writes docs/options.md from the tables in core/config: `python docs/make_options.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.sampling import SAMPLER_INFO
from core.config.training import PRESETS, TrainConfig, option_fields

INTRODUCTION = """# Options

Generated from `core/config` by `python docs/make_options.py`. Each option is a flag of `minidiff train`
(`--batch-size 64`), an environment variable (`MINIDIFF_BATCH_SIZE=64`; `MINIDIFF_HOME` for `--root`, `MINIDIFF_DATA`
for `--data-root`), a key of `config.toml` (`batch_size = 64`), a field of the Train screen's form, and an argument of
`TrainConfig(batch_size=64)`. Flags override the environment.
"""


def options_page() -> str:
    """The whole page as Markdown."""
    schema = TrainConfig.model_json_schema()["properties"]
    groups: dict[str, list[str]] = {}
    for name in option_fields():
        option = schema[name]
        row = f"| `--{name.replace('_', '-')}` | {_values(option)} | {_default(option)} | {option['description']} |"
        groups.setdefault(option["group"], []).append(row)
    heading = "| option | values | default | description |\n| --- | --- | --- | --- |\n"
    tables = [f"## {group}\n\n{heading}" + "\n".join(rows) + "\n" for group, rows in groups.items()]
    return "\n".join([INTRODUCTION, *tables, _presets(), _samplers()])


def _presets() -> str:
    rows = [
        f"| `{preset}` | " + ", ".join(f"`{name} = {str(value).lower()}`" for name, value in values.items()) + " |"
        for preset, values in PRESETS.items()
    ]
    return "## Presets\n\n| preset | what it sets |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def _samplers() -> str:
    rows = [
        f"| `{name}` | {info.summary} | {', '.join(f'`{path}`' for path in info.paths)} | {info.evaluations} |"
        for name, info in SAMPLER_INFO.items()
    ]
    heading = "| sampler | what it is | paths | NFE per step |\n| --- | --- | --- | ---: |\n"
    introduction = "## Samplers\n\nThe values of `--sampler`, and of the field on the Sample screen.\n\n"
    return introduction + heading + "\n".join(rows) + "\n"


def _default(option: dict[str, Any]) -> str:
    value = option.get("default")
    if value is None:
        return ""
    if isinstance(value, list):
        return "`" + " ".join(map(str, value)) + "`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _number(value: float) -> str:
    """A limit as it was declared, whether or not pydantic made a fraction of it."""
    return f"{int(value) if value == int(value) else value:,}"


def _values(option: dict[str, Any]) -> str:
    """What an option takes, in words, from its JSON schema."""
    kinds = [kind for kind in option.get("anyOf", [option]) if kind.get("type") != "null"]
    kind = kinds[0]
    if "enum" in kind:
        return ", ".join(f"`{value}`" for value in kind["enum"])
    match kind["type"]:
        case "integer" | "number":
            words = "whole number" if kind["type"] == "integer" else "number"
            limits = (
                ("minimum", "at least"),
                ("exclusiveMinimum", "above"),
                ("maximum", "at most"),
                ("exclusiveMaximum", "below"),
            )
            return ", ".join([words, *(f"{limit} {_number(kind[key])}" for key, limit in limits if key in kind)])
        case "boolean":
            return "yes or no: the flag, or `--no-` before its name"
        case "array":
            return "whole numbers"
        case _:
            return "path" if kind.get("format") == "path" else "text"


if __name__ == "__main__":
    Path(__file__).with_name("options.md").write_text(options_page(), encoding="utf-8")
