"""Every signature in docs/api.md matches its function."""

from __future__ import annotations

import ast
import inspect
import re

import pytest
from repository import REPOSITORY

import core
import core.lab.plane
from core.convolution import Geometry

API = REPOSITORY / "docs" / "api.md"
ROW = re.compile(r"^\| `((\w+)\((.*?)\))` \|", re.MULTILINE)
SIGNATURES = {match[2]: match[1] for match in ROW.finditer(API.read_text(encoding="utf-8"))}


def signature_of(name: str) -> inspect.Signature:
    """The signature of a public name of `core`, or of `core.lab.plane`."""
    return inspect.signature(getattr(core if name in core.__all__ else core.lab.plane, name))


def called(documented: str) -> ast.arguments:
    """Parse the documented parameters as those of a Python function."""
    (function,) = ast.parse(f"def {documented}: ...").body
    assert isinstance(function, ast.FunctionDef)
    return function.args


def test_every_function_of_the_public_api_is_documented() -> None:
    assert set(core.__all__) - {"MinidiffError"} <= SIGNATURES.keys()


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_documented_signature_can_be_called_as_written(name: str) -> None:
    written = called(SIGNATURES[name])
    signature = signature_of(name)
    positional = [argument.arg for argument in written.args]
    keywords = [argument.arg for argument in written.kwonlyargs]
    signature.bind(*positional, **dict.fromkeys(keywords))
    signature.bind(**dict.fromkeys([*positional, *keywords]))  # and each one by keyword
    for count in range(len(positional) - len(written.defaults), len(positional) + 1):
        signature.bind(*positional[:count])  # those with defaults are optional


@pytest.mark.parametrize("name", SIGNATURES)
def test_documented_defaults_are_the_real_ones(name: str) -> None:
    written = called(SIGNATURES[name])
    parameters = signature_of(name).parameters
    with_default = written.args[len(written.args) - len(written.defaults) :]
    pairs = [
        *zip(with_default, written.defaults, strict=True),
        *zip(written.kwonlyargs, written.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if default is None or argument.arg not in parameters:  # without a default, or an option among **options
            continue
        names = {"Geometry": Geometry}
        value = eval(compile(ast.Expression(default), str(API), "eval"), names)
        assert value == parameters[argument.arg].default, argument.arg
