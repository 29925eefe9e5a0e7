"""How an option of the config stands in the form: which widget holds it, and how its value is written and read."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Switch

from tui.widgets.compact_select import CompactSelect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

# What an entry shows for an option that was left out; in full it says that in its help.
EMPTY = {
    "size": "auto (small)",
    "compile": "auto",
    "channels": "the model's own",
    "layers_per_block": "the model's own",
    "limit": "all",
    "data_root": "searched for",
    "micro_batch": "the whole batch",
    "threads": "as torch chooses",
    "warmup_steps": "100, or less",
    "name": "chosen for you",
}
TRISTATE = {"": None, "on": True, "off": False}


class FormSelect(CompactSelect, inherit_bindings=False):
    """A choice whose arrow keys are left to the form, to move between its rows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "show_overlay", "Choose", show=False)]


def entry_for(name: str, field: FieldInfo, placeholder: str = "") -> Widget:
    """The widget that holds option `name`, with the option's default in it."""
    kind, optional = _kind(field)
    key, empty = f"field-{name}", EMPTY.get(name, placeholder or "none")
    if typing.get_origin(kind) is typing.Literal or (kind is bool and optional):
        values = typing.get_args(kind) or ("on", "off")
        return FormSelect(("", *values) if optional else values, str(field.default or ""), id=key, empty=empty)
    if kind is bool:
        return Switch(bool(field.default), animate=False, id=key)
    default = "" if field.default is None else shown(field.default)
    return Input(default, placeholder=empty if optional else "", compact=True, select_on_focus=False, id=key)


def read(entry: Widget, field: FieldInfo) -> Any:
    """The entry's value: None where it is empty and may be; text that is none of its kind, for the config to refuse."""
    kind, optional = _kind(field)
    if isinstance(entry, Switch):
        return entry.value
    if isinstance(entry, CompactSelect):
        return TRISTATE[entry.chosen] if kind is bool else entry.chosen or None
    assert isinstance(entry, Input)
    return _typed(entry.value.strip(), kind, optional)


def write(entry: Widget, value: Any) -> None:
    """Let the entry hold `value`."""
    if isinstance(entry, Input):
        entry.value = "" if value is None else shown(value)
    elif isinstance(entry, CompactSelect):
        entry.value = shown(value) if value is not None else ""
    elif isinstance(entry, Switch):
        entry.value = bool(value)


def shown(value: Any) -> str:
    """A value as it is written in the form."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def group_of(field: FieldInfo) -> str:
    """The group that the config puts the option in."""
    extra = field.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def idle_entries(values: Mapping[str, Any]) -> dict[str, str]:
    """Options that mean nothing beside the other `values`, with the reason."""
    model = values["model"]
    idle = {}
    if model != "patch_unet":
        idle["size"] = f"{model} has channels instead of a size"
    if model != "unet2d":
        idle["layers_per_block"] = f"{model} has no such option; unet2d has"
    if model == "basic_unet":
        idle["time_conditioning"] = "basic_unet is never told how much noise there is"
        idle["class_conditional"] = "basic_unet takes no class"
    if not values["class_conditional"]:
        idle["label_dropout"] = "without classes there are no labels to hide"
    if values["optimizer"] == "adam":
        idle["weight_decay"] = "adam has none; adamw has"
    return idle


# What an idle option holds; those that are not here keep their value, which does no harm.
WHILE_IDLE: dict[str, Any] = {
    "size": None,
    "layers_per_block": None,
    "time_conditioning": False,
    "class_conditional": False,
}


def fitting_choices(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By option, the choices that fit the other `values`; the first takes the place of one that fits no more."""
    from core.config.training import PREDICTIONS

    allowed = PREDICTIONS[values["path"]]
    return {"prediction": allowed, "weighting": ("prediction", *allowed)}


def _kind(field: FieldInfo) -> tuple[Any, bool]:
    """The field's type without its None, and whether None is allowed."""
    kind = field.annotation
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        rest = [part for part in typing.get_args(kind) if part is not types.NoneType]
        return rest[0], len(rest) < len(typing.get_args(kind))
    return kind, False


def _typed(text: str, kind: Any, optional: bool) -> Any:
    """`text` as a value of `kind`; where it cannot be one it stays text, for the config to refuse in its own words."""
    if not text and optional:
        return None
    if typing.get_origin(kind) is tuple:
        return tuple(_number(part, int) for part in text.replace(",", " ").split())
    return _number(text, kind) if kind in (int, float) else text


def _number(text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text
