"""Reproducible mutations of files and values."""

from __future__ import annotations

import copy
import random
from typing import Any

ODD_BYTES = (b"", b"\x00", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xef\xbb\xbf",
             b"../../../x", b"\x1b[2J", b"{{}}", b'"', b"\n\n", b"1e999", b"-1", b"NaN",
             b"9" * 30)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**62, 10**400, 0.5, float("nan"), float("inf"), "", " ", "../../../x",
    "/etc/passwd", "a\x00b", "\x1b[31mred", "\u202eabc", "x" * 100_000, [], [[]], {}, {"a": {}},
    [None], "<script>alert(1)</script>", "=1+1", "[/red]", "\\input{x}", ["a", 1], -1e308,
)  # fmt: skip


def spoilt_bytes(content: bytes, rng: random.Random) -> bytes:
    """Apply one to four changes: flip, replace, delete, repeat, insert or truncate bytes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1) if data else 0
        # Most of the structure is at the start and the end.
        if rng.random() < 0.4:
            at = min(at, rng.randrange(64))
        elif rng.random() < 0.3:
            at = max(0, len(data) - rng.randrange(64))
        size = rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[at : at + size]
        elif kind == 4:
            odd = rng.choice(ODD_BYTES)
            data[at : at + len(odd)] = odd
        elif kind == 5:
            data[at:at] = rng.randbytes(size)
        else:
            del data[at:]
    return bytes(data)


def spoilt_value(value: Any, rng: random.Random) -> Any:
    """Replace, delete, repeat or rename one to three entries of a JSON or TOML value."""
    result = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        entries = list(_entries(result))
        if not entries:
            return rng.choice(ODD_VALUES)
        parent, key = rng.choice(entries)
        kind = rng.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, list):
            parent.append(parent[key])
        elif kind == 1 and isinstance(parent, dict):
            parent[rng.choice(("../x", "", "a\nb", "odd", "__class__"))] = parent.pop(key)
        else:
            parent[key] = rng.choice(ODD_VALUES)
    return result


def _entries(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _entries(value[key])
