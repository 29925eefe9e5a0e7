"""How messages travel between the UI and the engine: a line of JSON, then the bytes of images and arrays.

The line names the message's type and fields, and in `payload` how many bytes follow. In place of bytes it has their
number, in place of an array its shape. Decoding checks every field against its annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from array import array
from typing import Any, Literal

from core.engine.ideal_messages import IDEAL_REPLIES, IDEAL_REQUESTS
from core.engine.lab_messages import LAB_REPLIES, LAB_REQUESTS
from core.engine.plane_messages import PLANE_REPLIES, PLANE_REQUESTS
from core.engine.protocol import REPLIES, REQUESTS, Array, EngineReply, EngineRequest, Refused
from core.engine.training_messages import TrainingReply, TrainingRequest
from core.system.safe_io import parse_json
from core.text import sanitize

ITEM_BYTES = 4  # of a float32
_TYPES: dict[str, type[EngineRequest] | type[EngineReply]] = {
    cls.__name__: cls for cls in (*REQUESTS, *LAB_REQUESTS, *PLANE_REQUESTS, *IDEAL_REQUESTS, TrainingRequest)
} | {cls.__name__: cls for cls in (*REPLIES, *LAB_REPLIES, *PLANE_REPLIES, *IDEAL_REPLIES, TrainingReply)}


def encode(message: EngineRequest | EngineReply) -> bytes:
    """The line and the payload of a message."""
    payload: list[bytes] = []
    record = _to_json(message, payload)
    content = b"".join(payload)
    if content:
        record["payload"] = len(content)
    return json.dumps(record, separators=(",", ":")).encode() + b"\n" + content


def decode_request(line: bytes) -> EngineRequest | Refused | None:
    """The request in a line; `Refused` if one of its fields is wrong; None if the line is no request with an id."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or type(record.get("id")) is not int:
        return None
    kind = _type_named(record.get("type"))
    if kind is None or not issubclass(kind, EngineRequest):
        return None
    try:
        request = _from_json(record, kind, "", _Payload(b""))
    except ValueError as error:
        return Refused(id=record["id"], message=f"invalid request: {sanitize(str(error))}")
    assert isinstance(request, EngineRequest)
    return request


def parse_header(line: bytes) -> tuple[dict[str, Any], int]:
    """The fields of a reply's line, and how many bytes follow it.

    Raises:
        ValueError: it is not the line of a message.
    """
    record = parse_json(line)
    if not isinstance(record, dict):
        raise ValueError("a message must be a JSON object")
    size = record.pop("payload", 0)
    if type(size) is not int or size < 0:
        raise ValueError("the payload's size must be a number of bytes")
    return record, size


def decode_reply(record: dict[str, Any], payload: bytes) -> EngineReply:
    """The reply with the fields of a line that `parse_header` read.

    Raises:
        ValueError: its type is unknown, a field is missing or of another type, or the payload is of another size.
    """
    kind = _type_named(record.get("type"))
    if kind is None or not issubclass(kind, EngineReply):
        raise ValueError(f"unknown type of reply {record.get('type')!r}")
    source = _Payload(payload)
    reply = _from_json(record, kind, "", source)
    if source.position != len(payload):
        raise ValueError(f"{len(payload):,} bytes where the fields need {source.position:,}")
    assert isinstance(reply, EngineReply)
    return reply


def to_record(value: Any) -> dict[str, Any]:
    """A dataclass without images and arrays, such as a request, as JSON values."""
    record = _to_json(value, [])
    assert isinstance(record, dict)
    return record


def from_record(record: object, kind: Any, name: str) -> Any:
    """The inverse of `to_record`, for a dataclass of the type `kind`, or of one type of a union.

    Raises:
        ValueError: a field is missing or of another type. The message calls the record `name`.
    """
    return _from_json(record, kind, name, _Payload(b""))


def _type_named(name: object) -> type[EngineRequest] | type[EngineReply] | None:
    return _TYPES.get(name) if isinstance(name, str) else None


def _to_json(value: Any, payload: list[bytes]) -> Any:
    match value:
        case bytes():
            payload.append(value)
            return len(value)
        case Array():
            payload.append(array("f", value.values).tobytes())
            return list(value.shape)
        case tuple() | list():
            return [_to_json(item, payload) for item in value]
        case dict():
            return {name: _to_json(item, payload) for name, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: _to_json(getattr(value, field.name), payload) for field in dataclasses.fields(value)}
    return {"type": type(value).__name__, **fields}


class _Payload:
    """The bytes after a line, taken in order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def take(self, size: int) -> bytes:
        end = self.position + size
        if size < 0 or end > len(self._content):
            raise ValueError(f"{len(self._content):,} bytes where the fields need {end:,}")
        taken = self._content[self.position : end]
        self.position = end
        return taken


@functools.cache
def _annotations(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    assert dataclasses.is_dataclass(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _from_json(value: Any, kind: Any, name: str, payload: _Payload) -> Any:
    """A JSON value as the annotated type `kind`; `name` is that of the field, for the error."""
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind is not Array:
        return _object(value, kind, name, payload)
    arguments = typing.get_args(kind)
    match typing.get_origin(kind) or kind:
        case types.UnionType:
            return _either(value, arguments, name, payload)
        case origin if origin is tuple and isinstance(value, list):
            if arguments[-1] is Ellipsis:
                return tuple(_from_json(item, arguments[0], name, payload) for item in value)
            if len(value) == len(arguments):
                pairs = zip(value, arguments, strict=True)
                return tuple(_from_json(item, item_kind, name, payload) for item, item_kind in pairs)
        case origin if origin is dict and isinstance(value, dict):
            return {key: _from_json(item, arguments[1], name, payload) for key, item in value.items()}
        case origin if origin is Array and isinstance(value, list):
            return _array(value, name, payload)
        case origin if origin is bytes and type(value) is int:
            return payload.take(value)
        case origin if origin is float and type(value) in (int, float):
            try:
                return float(value)
            except OverflowError:
                pass
        case origin if origin is str and type(value) is str:
            return value
        case origin if origin in (int, bool, types.NoneType) and type(value) is origin:
            return value
    raise ValueError(f"{name} must be {_described(kind)}, not {_shortened(value)}")


def _object(value: Any, kind: type, name: str, payload: _Payload) -> Any:
    if not isinstance(value, dict) or value.get("type") != kind.__name__:
        raise ValueError(f"{name} must be {_described(kind)}, not {_shortened(value)}")
    given: dict[str, Any] = {}
    annotations = _annotations(kind)
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = _from_json(value[field.name], annotations[field.name], field.name, payload)
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"{field.name} is missing")
    return kind(**given)


def _either(value: Any, kinds: tuple[Any, ...], name: str, payload: _Payload) -> Any:
    position, failure = payload.position, None
    for kind in kinds:
        try:
            return _from_json(value, kind, name, payload)
        except ValueError as error:
            payload.position = position
            # The error of the alternative that was meant says more than that of the others.
            if failure is None or (isinstance(value, dict) and value.get("type") == getattr(kind, "__name__", "")):
                failure = error
    assert failure is not None
    raise failure


def _array(shape: list[Any], name: str, payload: _Payload) -> Array:
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"{name} must have a shape, not {_shortened(shape)}")
    values = array("f")
    values.frombytes(payload.take(ITEM_BYTES * math.prod(shape)))
    return Array(tuple(shape), values)


def _described(kind: Any) -> str:
    names: dict[Any, Literal["an integer", "a number", "text", "true or false"]] = {
        int: "an integer",
        float: "a number",
        str: "text",
        bool: "true or false",
    }
    return names.get(kind, getattr(kind, "__name__", "a list"))


def _shortened(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
