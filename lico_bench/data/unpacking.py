"""Unpacking of untrusted archives; all members are checked before anything is written."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from lico_bench.data.index_files import safe_join
from lico_bench.errors import BrokenFileError, MissingDataError

MAX_MEMBERS = 5_000_000  # ImageNet has 1.4 million images
MAX_EXPANSION = 100  # unpacked size over archive size; images hardly compress
UNCHECKED_BYTES = 2**30  # unpacked size up to which the expansion is not limited


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack `archive` into `folder`.

    Raises:
        MissingDataError: without enough free disk space.
        BrokenFileError: if it is damaged, expands too much, or has a member that is not a file
            or folder or leads out of `folder`; nothing is unpacked then.
    """
    try:
        with tarfile.open(archive) as packed:
            needed = sum(member.size for member in _checked_members(packed, archive, folder))
        if shutil.disk_usage(folder).free < needed:
            raise MissingDataError(
                f"{folder}: not enough disk space to unpack {archive.name}; "
                f"free at least {needed:,} bytes"
            )
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    # Decompressors raise their own errors; a damaged header may hold any number.
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        if isinstance(error, BrokenFileError | MissingDataError):
            raise
        raise BrokenFileError(
            f"{archive}: cannot be unpacked ({error}); delete it and download it again"
        ) from error


def _checked_members(
    packed: tarfile.TarFile, archive: Path, folder: Path
) -> Iterator[tarfile.TarInfo]:
    """Yield each member after checking its path, type and size."""
    max_bytes = max(UNCHECKED_BYTES, MAX_EXPANSION * archive.stat().st_size)
    total = 0
    for number, member in enumerate(packed):
        location = f"{archive}: cannot be unpacked, member {number}"
        if member.name not in (".", "./"):
            safe_join(folder, member.name, location)
        if not (member.isreg() or member.isdir()):
            raise BrokenFileError(
                f"{location} '{member.name}': expected a file or a folder, got a link or a device; "
                "use the official archive"
            )
        total += max(member.size, 0)
        if total > max_bytes or number >= MAX_MEMBERS:
            raise BrokenFileError(
                f"{location}: expected at most {max_bytes:,} bytes in {MAX_MEMBERS:,} files for an "
                "archive of this size, got more; use the official archive"
            )
        yield member
