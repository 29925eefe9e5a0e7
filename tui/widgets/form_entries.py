"""Form entries: the widget of each config option, and how values are read and written."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.suggester import SuggestFromList
from textual.widget import Widget
from textual.widgets import Input, Switch

from core.config.datasets import CHARACTERS, INFO
from tui.widgets.compact_select import CompactSelect
from tui.widgets.field import Field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

# Placeholder of an option that is not set; its help text explains it.
EMPTY = {
    "size": "auto (small)",
    "compile": "auto",
    "channels": "model default",
    "layers_per_block": "model default",
    "limit": "all",
    "image_size": "their own",
    "data_root": "auto",
    "micro_batch": "whole batch",
    "threads": "torch default",
    "log_to": "none",
    "warmup_steps": "auto (up to 100)",
    "clip_grad_norm": "no limit",
    "init_from": "random weights",
    "name": "auto",
}
TRISTATE = {"": None, "on": True, "off": False}


class FormSelect(CompactSelect, inherit_bindings=False):
    """A select that leaves the arrow keys to the form, where they move between rows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,space", "show_overlay", "Show options", show=False)]


def entry_for(name: str, field: FieldInfo, placeholder: str = "") -> Widget:
    """Create the widget of option `name`, holding its default."""
    kind, optional = _kind(field)
    widget_id, empty = f"field-{name}", EMPTY.get(name, placeholder or "none")
    if typing.get_origin(kind) is typing.Literal or (kind is bool and optional):
        values = typing.get_args(kind) or ("on", "off")
        return FormSelect(("", *values) if optional else values, str(field.default or ""), id=widget_id, empty=empty)
    if kind is bool:
        return Switch(bool(field.default), animate=False, id=widget_id)
    default = "" if field.default is None else format_value(field.default)
    suggester = SuggestFromList(INFO) if name == "dataset" else None
    return Field(
        default,
        placeholder=empty if optional else "",
        suggester=suggester,
        compact=True,
        select_on_focus=False,
        id=widget_id,
    )


def read(entry: Widget, field: FieldInfo) -> Any:
    """Return the value of an entry; None if it is empty and optional, and text if it cannot be converted."""
    kind, optional = _kind(field)
    if isinstance(entry, Switch):
        return entry.value
    if isinstance(entry, CompactSelect):
        return TRISTATE[entry.chosen] if kind is bool else entry.chosen or None
    assert isinstance(entry, Input)
    return _convert(entry.value.strip(), kind, optional)


def write(entry: Widget, value: Any) -> None:
    """Set the value of an entry."""
    if isinstance(entry, Input):
        entry.value = "" if value is None else format_value(value)
    elif isinstance(entry, CompactSelect):
        entry.value = format_value(value) if value is not None else ""
    elif isinstance(entry, Switch):
        entry.value = bool(value)


def format_value(value: Any) -> str:
    """Format a value as the form shows it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def group_of(field: FieldInfo) -> str:
    """Return the group of an option in the config."""
    extra = field.json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def unused_options(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that have no effect with the other `values`, and the reasons."""
    model = values["model"]
    unused = {}
    if model != "patch_unet":
        unused["size"] = f"{model} uses channels instead of size"
    if model != "unet2d":
        unused["layers_per_block"] = "only unet2d has this option"
    if model == "basic_unet":
        unused["time_conditioning"] = "basic_unet has no time conditioning"
        unused["class_conditional"] = "basic_unet is unconditional"
    if not values["class_conditional"]:
        unused["label_dropout"] = "needs class_conditional"
    if values["dataset"] in INFO:
        reason = "only for a path to your own images"
        unused |= dict.fromkeys(("image_mode", "image_size", "resize", "strict"), reason)
    if values["dataset"] in CHARACTERS:
        unused["flip"] = "mirrored characters are wrong"
    if values["optimizer"] == "adam":
        unused["weight_decay"] = "adam has no weight decay"
    return unused


# Values of options while they are unused; other options keep theirs.
UNUSED_VALUES: dict[str, Any] = {
    "size": None,
    "layers_per_block": None,
    "time_conditioning": False,
    "class_conditional": False,
}


def allowed_choices(values: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the choices allowed by the other `values`, by option; the first one replaces a disallowed choice."""
    from core.config.training import PREDICTIONS

    allowed = PREDICTIONS[values["path"]]
    return {"prediction": allowed, "weighting": ("prediction", *allowed)}


def _kind(field: FieldInfo) -> tuple[Any, bool]:
    """Return the field's type without None, and whether None is allowed."""
    kind = field.annotation
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        rest = [part for part in typing.get_args(kind) if part is not types.NoneType]
        return rest[0], len(rest) < len(typing.get_args(kind))
    return kind, False


def _convert(text: str, kind: Any, optional: bool) -> Any:
    """Convert `text` to `kind`; invalid text is returned as is, and the config reports the error."""
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
