"""Unpacking an archive that strangers packed: looked through whole before anything is written."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from lico_bench.data.index_files import inside
from lico_bench.errors import BrokenFileError, MissingDataError

MOST_MEMBERS = 5_000_000  # ImageNet has 1.4 million images
# Images hardly shrink: an archive that grows a hundredfold into gigabytes is made to fill a disk.
MOST_GROWTH = 100
FREE_GROWTH_BYTES = 2**30  # below this sum growth does not matter


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack `archive` into `folder`.

    Raises:
        MissingDataError: without room on the disk.
        BrokenFileError: if it is torn, grows out of proportion, or has a member that is neither
            file nor folder or would land elsewhere; nothing is unpacked then.
    """
    try:
        with tarfile.open(archive) as packed:
            needed = sum(member.size for member in _checked_members(packed, archive, folder))
        if shutil.disk_usage(folder).free < needed:
            raise MissingDataError(
                f"{folder}: too little room to unpack {archive.name}; free at least "
                f"{needed:,} bytes"
            )
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    # The decompressors have error kinds of their own; a damaged header may hold any number.
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        if isinstance(error, BrokenFileError | MissingDataError):
            raise
        raise BrokenFileError(
            f"{archive}: cannot be unpacked ({error}); delete it and fetch again"
        ) from error


def _checked_members(
    packed: tarfile.TarFile, archive: Path, folder: Path
) -> Iterator[tarfile.TarInfo]:
    """Every member, each found harmless before the next is looked for."""
    most = max(FREE_GROWTH_BYTES, MOST_GROWTH * archive.stat().st_size)
    total = 0
    for number, member in enumerate(packed):
        place = f"{archive}: cannot be unpacked, member {number}"
        if member.name not in (".", "./"):
            inside(folder, member.name, place)
        if not (member.isreg() or member.isdir()):
            raise BrokenFileError(
                f"{place} '{member.name}': expected a file or a folder, got a link or a device; "
                "take the official archive"
            )
        total += max(member.size, 0)
        if total > most or number >= MOST_MEMBERS:
            raise BrokenFileError(
                f"{place}: expected at most {most:,} bytes in {MOST_MEMBERS:,} files of an "
                f"archive of this size, got more; take the official archive"
            )
        yield member
