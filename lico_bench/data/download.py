"""Fetching a dataset's official files: resumed, checked against the published checksum, unpacked.

Where the publisher asks for a person (registration, a copy from elsewhere) nothing is fetched and
the steps are given instead.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from lico_bench.data.cards import SourceFile, load_card
from lico_bench.data.index_files import inside
from lico_bench.data.unpacking import unpack_tar
from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.runtime import data_root

BLOCK = 2**20
TIMEOUT_S = 30
SCHEMES = ("https", "http")  # others would read this machine's own files
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """What `fetch` did, or what is left to do by hand.

    Attributes:
        files: archives that are now here, checked.
        steps: what a person must do; empty if all was fetched.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]
    steps: tuple[str, ...]


def fetch(
    name: str,
    root: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Fetched:
    """Bring the official files of the dataset `name` into the data root.

    A download that was cut off goes on where it stopped; a file that is already whole is kept.

    Args:
        root: the data root; None takes LICO_BENCH_DATA or `./datasets`.
        progress: called with a file's name, bytes so far, and bytes in all if known.

    Raises:
        MissingDataError: without a network, a data root, or room on the disk.
        BrokenFileError: if a file is not what its publisher's checksum says.
    """
    card = load_card(name, root)
    base = data_root(root)
    if base is None:
        raise MissingDataError(
            "no folder to put the data in; make ./datasets or name one with --data-root"
        )
    folder = base / card.name
    files, steps = [], []
    for source in card.sources:
        if source.manual:
            steps += [*source.manual, f"Everything belongs in {folder}."]
        else:
            files.append(_fetch_file(source, _place(source, folder), progress))
    if not card.sources:
        steps = [f"The card of {card.title} names no source; put {card.expects} in {folder}."]
    return Fetched(card.name, folder, tuple(files), tuple(steps))


def _place(source: SourceFile, folder: Path) -> Path:
    """Where a file goes; a card from somebody else must not lead out of the folder."""
    message = f"the card's source {source.url}"
    if urllib.parse.urlsplit(source.url).scheme not in SCHEMES:
        raise BrokenFileError(
            f"{message}: expected an address that starts with https:// or http://; mend the card"
        )
    place = inside(folder, source.folder, message) if source.folder else folder
    return inside(place, source.url.rsplit("/", 1)[-1] or ".", message)


def _fetch_file(source: SourceFile, path: Path, progress: Progress | None) -> Path:
    folder = path.parent
    if not (path.is_file() and _is_intact(path, source)):
        part = path.with_name(path.name + ".part")
        _download(source.url, part, progress)
        if not _is_intact(part, source):
            part.unlink()
            raise BrokenFileError(
                f"{source.url}: expected md5 {source.md5}, got another file; "
                "run the command again, and look at the address by hand if it happens twice"
            )
        part.replace(path)
    if tarfile.is_tarfile(path):
        _unpack(path, folder)
    return path


def _is_intact(path: Path, source: SourceFile) -> bool:
    if source.md5 is None:
        return True
    with path.open("rb") as file:
        # md5 is what the publishers print; it guards against accidents, not against forgery.
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return found.hexdigest() == source.md5


def _download(url: str, part: Path, progress: Progress | None) -> None:
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            resumes = answer.status == HTTPStatus.PARTIAL_CONTENT
            start = start if resumes else 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdecimal() else None
            # Only now: an address that does not answer leaves no empty folder behind.
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab" if resumes else "wb") as file:
                done = start
                while block := answer.read(BLOCK):
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(part.stem, done, total)
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the part is whole already; its checksum decides
        raise MissingDataError(
            f"{url}: the server answers {error.code} {error.reason}; "
            "fetch the file by hand, or use stand-ins with --data standin"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise MissingDataError(
            f"{url}: cannot be fetched ({reason}); run the command again where there is a network "
            "(it goes on where it stopped), or use stand-ins with --data standin"
        ) from error
    if total is not None and done != total:
        raise MissingDataError(
            f"{url}: the connection ended after {done:,} of {total:,} bytes; "
            "run the command again, it goes on where it stopped"
        )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack `archive` beside itself, once."""
    done = archive.with_name(archive.name + ".unpacked")
    if not done.is_file():
        unpack_tar(archive, folder)
        done.touch()
