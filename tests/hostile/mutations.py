"""Files spoilt on purpose, the same way for the same seed."""

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
    """`content` with one to four changes: bits, bytes, pieces lost, doubled, moved or cut off."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(made) + 1) if made else 0
        # Heads and tails are where the structure is.
        if rng.random() < 0.4:
            at = min(at, rng.randrange(64))
        elif rng.random() < 0.3:
            at = max(0, len(made) - rng.randrange(64))
        size = rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(7)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(made):
            made[at] = rng.randrange(256)
        elif kind == 2:
            del made[at : at + size]
        elif kind == 3:
            made[at:at] = made[at : at + size]
        elif kind == 4:
            odd = rng.choice(ODD_BYTES)
            made[at : at + len(odd)] = odd
        elif kind == 5:
            made[at:at] = rng.randbytes(size)
        else:
            del made[at:]
    return bytes(made)


def spoilt_value(value: Any, rng: random.Random) -> Any:
    """A JSON or TOML value with one to three entries replaced, removed, doubled or renamed."""
    made = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(made))
        if not places:
            return rng.choice(ODD_VALUES)
        holder, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.append(holder[key])
        elif kind == 1 and isinstance(holder, dict):
            holder[rng.choice(("../x", "", "a\nb", "odd", "__class__"))] = holder.pop(key)
        else:
            holder[key] = rng.choice(ODD_VALUES)
    return made


def _places(value: Any) -> Any:
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
