"""SHA-256 checksums: of files, in sidecar files, in JSON records and in Parquet footers.

The list of a finished cell is `files` in its record. Until that is written, sidecars cover the
weights and checkpoints, and Parquet files cover themselves.

A Parquet file holds its own digest in its footer, computed with the digest's bytes set to "0". The
page checksums of Parquet do not cover the names, counts and offsets between the pages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from lico_bench.store.codec import JsonObject
from lico_bench.store.run_records import FileFacts

SEAL = "seal"  # key in a JSON record of the digest of its other fields
PARQUET_KEY = "lico_bench.sha256"
EMPTY_STAMP = "0" * 64
SIDECAR_SUFFIX = ".sha256"
KEPT_DIGESTS = 8  # latest digests per file name in a sidecar
_CHUNK = 1 << 20
_FOOTER_END = 8  # bytes: footer length (4) and magic number (4)
_MAGIC = b"PAR1"
_FIELD_HEAD = 2  # bytes between a key and its value in the footer: field type, length


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_facts(path: Path) -> FileFacts:
    """Return checksum and size of a file."""
    return FileFacts(sha256=file_digest(path), bytes=path.stat().st_size)


def sealed(record: Mapping[str, object]) -> JsonObject:
    """Return `record` with the digest of its content under `seal`."""
    content = {name: value for name, value in record.items() if name != SEAL}
    return {**content, SEAL: _content_digest(content)}


def has_valid_seal(record: Mapping[str, object]) -> bool:
    """Return whether the content of a record matches its seal; True without a seal."""
    if SEAL not in record:
        return True
    try:
        return bool(sealed(record)[SEAL] == record[SEAL])
    except (ValueError, RecursionError):  # an infinite number, which is never written
        return False


def unsealed(content: object) -> JsonObject | None:
    """Return a record without its seal; None if it is no table or does not match its seal."""
    if not isinstance(content, dict) or not has_valid_seal(content):
        return None
    return {name: value for name, value in content.items() if name != SEAL}


def is_sealed(content: object) -> bool:
    """Return whether a record of a file has a seal, valid or not."""
    return isinstance(content, dict) and SEAL in content


def sidecar_of(path: Path) -> Path:
    """Return the path of the sidecar that holds the digests of `path`."""
    return path.with_name(path.name + SIDECAR_SUFFIX)


def read_sidecar(path: Path) -> dict[str, list[str]]:
    """Return the digests by file name, newest first; empty if there is no sidecar.

    Malformed lines are ignored.
    """
    known: dict[str, list[str]] = {}
    if not path.is_file():
        return known
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        if name:
            known.setdefault(name, []).append(digest)
    return known


def sidecar_text(known: Mapping[str, list[str]]) -> str:
    """Return the text of a sidecar, in the format of `sha256sum --check`."""
    return "".join(
        f"{digest}  {name}\n"
        for name, digests in known.items()
        for digest in list(dict.fromkeys(digests))[:KEPT_DIGESTS]
    )


def stamp_parquet(path: Path) -> None:
    """Write the digest of a Parquet file into the entry reserved in its footer."""
    with path.open("r+b") as file:
        offset = _stamp_offset(file)
        if offset is None:
            raise ValueError(f"{path}: expected a footer entry {PARQUET_KEY}, got none")
        digest = _digest_with_empty_stamp(file, offset)
        file.seek(offset)
        file.write(digest.encode())


def has_valid_stamp(path: Path) -> bool:
    """Return whether a Parquet file matches its digest; True if it has none.

    Raises:
        ValueError: if it is not a complete Parquet file.
    """
    with path.open("rb") as file:
        offset = _stamp_offset(file)
        if offset is None:
            return True
        file.seek(offset)
        stored = file.read(len(EMPTY_STAMP))
        return stored == _digest_with_empty_stamp(file, offset).encode()


def _stamp_offset(file: BinaryIO) -> int | None:
    """Return the offset of the 64-character digest, or None if the footer has no such entry."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _FOOTER_END))
    end = file.read()
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or not 0 < length <= size - _FOOTER_END:
        raise ValueError("not a complete Parquet file")
    start = size - _FOOTER_END - length
    file.seek(start)
    position = file.read(length).rfind(PARQUET_KEY.encode())
    return None if position < 0 else start + position + len(PARQUET_KEY) + _FIELD_HEAD


def _digest_with_empty_stamp(file: BinaryIO, offset: int) -> str:
    """Return the SHA-256 of a file with its digest at `offset` replaced by `EMPTY_STAMP`."""
    digest = hashlib.sha256()
    file.seek(0)
    remaining = offset
    while remaining > 0:
        chunk = file.read(min(_CHUNK, remaining))
        if not chunk:
            break
        digest.update(chunk)
        remaining -= len(chunk)
    digest.update(EMPTY_STAMP.encode())
    file.seek(offset + len(EMPTY_STAMP))
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _content_digest(content: Mapping[str, object]) -> str:
    # Hash the JSON text, so that tuples and keys compare as they are read back.
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
