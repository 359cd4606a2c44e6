"""Download of a dataset's official files, with resume, checksum verification and unpacking.

torchvision's download functions neither resume an interrupted download nor check the members of
an archive before unpacking it. If the publisher requires manual steps (such as registration),
nothing is downloaded and the steps are returned.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from lico_bench.data.cards import SourceFile, load_card
from lico_bench.data.readers import safe_join
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.runtime import data_root

BLOCK_BYTES = 2**20
TIMEOUT_S = 30
SCHEMES = ("https", "http")  # file:// would read local files
MAX_MEMBERS = 5_000_000  # ImageNet has 1.4 million images
MAX_EXPANSION = 100  # unpacked size over archive size; images hardly compress
UNCHECKED_BYTES = 2**30  # unpacked size up to which the expansion is not limited
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class FetchResult:
    """Result of `fetch`.

    Attributes:
        files: downloaded and verified archives.
        steps: steps to do by hand; empty if everything was downloaded.
    """

    files: tuple[Path, ...]
    steps: tuple[str, ...]


def fetch(
    name: str,
    root: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FetchResult:
    """Download the official files of the dataset `name` into the data root.

    An interrupted download is resumed; a complete file is not downloaded again.

    Args:
        root: the data root; None means LICO_BENCH_DATA or `./datasets`.
        progress: called with the file name, bytes so far, and total bytes if known.

    Raises:
        MissingDataError: without a network connection, a data root, or free disk space.
        BrokenFileError: if a file does not match the publisher's checksum or cannot be unpacked.
    """
    card = load_card(name, root)
    base = data_root(root)
    if base is None:
        raise MissingDataError(
            "no data root found; create ./datasets or pass a folder with --data-root"
        )
    folder = base / card.name
    files, steps = [], []
    for source in card.sources:
        if source.manual:
            steps += [*source.manual, f"Everything belongs in {folder}."]
        else:
            files.append(_fetch_file(source, _target_path(source, folder), progress))
    if not card.sources:
        steps = [f"The card of {card.title} names no source; put {card.expects} in {folder}."]
    return FetchResult(tuple(files), tuple(steps))


def _target_path(source: SourceFile, folder: Path) -> Path:
    """Return the path of a downloaded file; an untrusted card must not lead out of the folder."""
    location = f"the card's source {source.url}"
    if urllib.parse.urlsplit(source.url).scheme not in SCHEMES:
        raise BrokenFileError(
            f"{location}: expected a URL that starts with https:// or http://; fix the card"
        )
    parent = safe_join(folder, source.folder, location) if source.folder else folder
    return safe_join(parent, source.url.rsplit("/", 1)[-1] or ".", location)


def _fetch_file(source: SourceFile, path: Path, progress: Progress | None) -> Path:
    if not (path.is_file() and _is_intact(path, source)):
        part = path.with_name(path.name + ".part")
        _download(source.url, part, progress)
        if not _is_intact(part, source):
            part.unlink()
            raise BrokenFileError(
                f"{source.url}: expected md5 {source.md5}, got a different checksum; "
                "run the command again, and check the URL in a browser if it fails again"
            )
        part.replace(path)
    marker = path.with_name(path.name + ".unpacked")
    if tarfile.is_tarfile(path) and not marker.is_file():
        unpack_tar(path, path.parent)
        marker.touch()
    return path


def _is_intact(path: Path, source: SourceFile) -> bool:
    if source.md5 is None:
        return True
    with path.open("rb") as file:
        # Publishers provide md5; it detects damage, not tampering.
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == source.md5


def _download(url: str, part: Path, progress: Progress | None) -> None:
    start = part.stat().st_size if part.is_file() else 0
    report = progress or (lambda _name, _done, _total: None)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            is_resumed = response.status == HTTPStatus.PARTIAL_CONTENT
            done = start if is_resumed else 0
            length = response.headers.get("Content-Length")
            total = done + int(length) if length and length.isdecimal() else None
            # Created after the response, so that a failed request leaves no empty folder.
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab" if is_resumed else "wb") as file:
                for block in iter(lambda: response.read(BLOCK_BYTES), b""):
                    done += file.write(block)
                    report(part.stem, done, total)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the partial file is complete; the checksum is verified by the caller
        raise MissingDataError(
            f"{url}: the server answers {error.code} {error.reason}; "
            "download the file by hand, or use stand-ins with --data standin"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise MissingDataError(
            f"{url}: cannot be downloaded ({reason}); run the command again with a network "
            "connection (it resumes the download), or use stand-ins with --data standin"
        ) from error
    if total is not None and done != total:
        raise MissingDataError(
            f"{url}: the connection ended after {done:,} of {total:,} bytes; "
            "run the command again to resume the download"
        )


def unpack_tar(archive: Path, folder: Path) -> None:
    """Unpack an untrusted `archive` into `folder` after checking all its members.

    Raises:
        MissingDataError: without enough free disk space.
        BrokenFileError: if it is damaged, expands too much, or has a member that is not a file
            or folder or leads out of `folder`; nothing is unpacked then.
    """
    try:
        with tarfile.open(archive) as packed:
            needed = _checked_size(packed, archive, folder)
            if shutil.disk_usage(folder).free < needed:
                raise MissingDataError(
                    f"{folder}: not enough disk space to unpack {archive.name}; "
                    f"free at least {needed:,} bytes"
                )
            packed.extractall(folder, filter="data")
    except (BrokenFileError, MissingDataError):
        raise
    # Decompressors raise their own errors; a damaged header may hold any number.
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError) as error:
        raise BrokenFileError(
            f"{archive}: cannot be unpacked ({error}); delete it and download it again"
        ) from error


def _checked_size(packed: tarfile.TarFile, archive: Path, folder: Path) -> int:
    """Check path, type and size of each member and return the unpacked size in bytes."""
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
    return total
