"""Damages valid input, reproducibly for a seed, as disk errors, mistakes or attacks would."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import Any

NUMBERS = (
    *("0", "-1", "1", "2", "255", "65536", "2147483648", "4294967295", "9223372036854775807", "18446744073709551616"),
    *("1e999", "-1e999", "NaN", "Infinity", "nan", "inf", "1e-400", "0.5", "1e38", "1e300", "0x" + "f" * 4000),
    *("9" * 400, "9" * 5000, "-0", "00", "1.", "true", "null", '"1"', "[1]", "{}"),
)
WORDS = (
    *(b"\x1b[2J", b"\x1b]0;x\x07", b"\xe2\x80\xae", b"\\ud800", b"\\u0000", b"\x00", b"\xff\xfe", b"\n", b"\r", b'"'),
    *(
        b"[",
        b"{",
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b"a." * 3_000,
        b"../../../etc/passwd",
        b"[red]",
        b"%s",
        b"\xf0\x9f",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, 0.5, -0.5, 1e300, -1e300, float("nan")),
    *(
        float("inf"),
        "",
        "x",
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "x" * 10_000,
        [],
        [[]],
        {},
        {"a": 1},
        [1] * 1000,
        ["x", None],
    ),
    *(
        "mnist",
        "cpu",
        "cuda:7",
        "flow",
        "patch_unet",
        "diffusers:DDIMScheduler",
        "/dev/zero",
        "/proc/self/mem",
        "~",
        "\0",
    ),
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to eight parts flipped, removed, duplicated, moved, inserted or replaced by other numbers."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(damaged) + 1)
        length = min(len(damaged) - at, int(2 ** rng.uniform(0, 12)))
        match rng.randrange(8):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                del damaged[at : at + length]
            case 2:
                damaged[at:at] = damaged[at : at + length]
            case 3:
                damaged[at:at] = rng.choice(WORDS)
            case 4:
                damaged[at : at + length] = rng.randbytes(length)
            case 5:
                other = rng.randrange(len(damaged) + 1)
                damaged[at : at + length] = damaged[other : other + length]
            case 6 if rng.random() < 0.2:
                del damaged[at:]
            case _:
                numbers = list(re.finditer(rb"-?[0-9][0-9.e+-]*", damaged[: 1 << 16]))
                if numbers:
                    number = rng.choice(numbers)
                    damaged[number.start() : number.end()] = rng.choice(NUMBERS).encode()
    return bytes(damaged)


def altered(value: Any, rng: random.Random, others: Sequence[Any] = VALUES) -> Any:
    """A JSON value with a part replaced, removed, added, or nested in a thousand lists."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        name = rng.choice(list(value))
        rest = {key: one for key, one in value.items() if key != name}
        match rng.randrange(8):
            case 0:
                return rest
            case 1:
                return {**value, rng.choice(("event", "id", "n", "x", "\x1b", "")): rng.choice(others)}
            case 2:
                return {**rest, name: value[rng.choice(list(value))]}
        return {**rest, name: altered(value[name], rng, others)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], altered(value[at], rng, others), *value[at + 1 :]] * rng.choice((1, 1, 1, 2))
    if rng.random() < 0.05:
        for _ in range(500):
            value = [value]
        return value
    return rng.choice(others)


def as_json(value: Any) -> bytes:
    """The value as one line of JSON, with NaN and infinities; unserializable values become null."""
    return json.dumps(value, default=lambda _: None).encode("utf-8", errors="surrogatepass")
