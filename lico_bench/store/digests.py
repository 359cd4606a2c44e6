"""SHA-256 of what is stored: of a file, beside a file, inside a JSON record, inside Parquet.

A Parquet file carries the digest of itself in its footer, taken with the place of the digest filled
with zeros: the checksums of its pages say nothing of the names, counts and offsets between them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

SEAL = "seal"  # key of a JSON record's digest of all the rest of it
PARQUET_KEY = "lico_bench.sha256"
EMPTY_STAMP = "0" * 64
SIDECAR_SUFFIX = ".sha256"
KEPT_DIGESTS = 8  # in a sidecar: of each name, those that were written last
_CHUNK = 1 << 20
_FOOTER_END = 8  # bytes: the footer's length in 4, and the magic word
_MAGIC = b"PAR1"
_FIELD_HEAD = 2  # bytes between a key and its value in the footer: field type, length


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_facts(path: Path) -> dict[str, Any]:
    """`sha256` and `bytes` of a file."""
    return {"sha256": file_digest(path), "bytes": path.stat().st_size}


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record` with the digest of its content under `seal`."""
    content = {name: value for name, value in record.items() if name != SEAL}
    return {**content, SEAL: _content_digest(content)}


def has_valid_seal(record: Mapping[str, Any]) -> bool:
    """Whether the content of a record is what was sealed; True where there is no seal."""
    if SEAL not in record:
        return True
    try:
        return bool(sealed(record)[SEAL] == record[SEAL])
    except (ValueError, RecursionError):  # an infinite number, which we never write
        return False


def sidecar_of(path: Path) -> Path:
    """Where the digests of a file lie that has none inside."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def read_sidecar(path: Path) -> dict[str, list[str]]:
    """Digests by name of file, newest first; lines of another form tell nothing."""
    known: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name:
            known.setdefault(name, []).append(digest)
    return known


def sidecar_text(known: Mapping[str, list[str]]) -> str:
    """The lines of a sidecar, as `sha256sum --check` reads them."""
    return "".join(
        f"{digest}  {name}\n"
        for name, digests in known.items()
        for digest in list(dict.fromkeys(digests))[:KEPT_DIGESTS]
    )


def stamp_parquet(path: Path) -> None:
    """Put the digest of a Parquet file in the place that its footer keeps for it."""
    with path.open("r+b") as file:
        place = _stamp_place(file)
        if place is None:
            raise ValueError(f"{path}: no place for a digest")
        digest = _digest_without(file, place)
        file.seek(place)
        file.write(digest.encode())


def has_valid_stamp(path: Path) -> bool:
    """Whether a Parquet file is what was written; True where it carries no digest.

    Raises:
        ValueError: if it is no whole Parquet file.
    """
    with path.open("rb") as file:
        place = _stamp_place(file)
        if place is None:
            return True
        file.seek(place)
        message = file.read(len(EMPTY_STAMP))
        return message == _digest_without(file, place).encode()


def _stamp_place(file: BinaryIO) -> int | None:
    """Offset of the digest's 64 characters; None where the footer has no such entry."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _FOOTER_END))
    end = file.read()
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or not 0 < length <= size - _FOOTER_END:
        raise ValueError("not a whole Parquet file")
    start = size - _FOOTER_END - length
    file.seek(start)
    found = file.read(length).rfind(PARQUET_KEY.encode())
    return None if found < 0 else start + found + len(PARQUET_KEY) + _FIELD_HEAD


def _digest_without(file: BinaryIO, place: int) -> str:
    """SHA-256 of a file with zeros in the place of the digest."""
    digest = hashlib.sha256()
    file.seek(0)
    left = place
    while left > 0:
        piece = file.read(min(_CHUNK, left))
        if not piece:
            break
        digest.update(piece)
        left -= len(piece)
    digest.update(EMPTY_STAMP.encode())
    file.seek(place + len(EMPTY_STAMP))
    while piece := file.read(_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def _content_digest(content: Mapping[str, Any]) -> str:
    # Through JSON once, so that tuples and keys are what a reader will find.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
