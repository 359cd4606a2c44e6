"""The folder of one cell: paths, atomic writes and checksums of its files.

The record of a finished cell holds the checksums of its files. Until it is written, sidecar files
cover the weights and checkpoints, and Parquet files cover themselves.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.codec import decode
from lico_bench.store.files import (
    atomic_write,
    file_digest,
    part_prefix,
    read_sealed,
    write_bytes,
)
from lico_bench.store.parquet import merge_parquet, read_parquet, write_parquet
from lico_bench.store.run_records import CellRecord

SCORE_TABLES = ("rows", "curves", "gallery")
EMPTY_COLUMNS = {
    "rows": ROW_COLUMNS,
    "curves": CURVE_COLUMNS,
    "gallery": ("cell", "image_id", "method"),
}
# Files written by a training. The weights are written last, so they mark a complete training.
TRAINING_FILES = ("history.parquet", "findings.json", "labelled_images.json", "model.safetensors")
SIDECAR_SUFFIX = ".sha256"
KEPT_DIGESTS = 8  # latest digests per file name in a sidecar
PART_FILE = re.compile(r"(?P<part>(classified|scored)-\d{8}-\d{8})\.(rows|curves|gallery)\.parquet")


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell: a trained model and its scores."""

    path: Path

    @property
    def done(self) -> Path:
        """Path of the record of a finished cell (facts and checksums), written last."""
        return self.path / "done.json"

    @property
    def is_done(self) -> bool:
        """Whether this cell is finished."""
        return self.done.is_file()

    @property
    def recipe(self) -> Path:
        """Path of a copy of the cell's manifest entry."""
        return self.path / "recipe.json"

    @property
    def failure(self) -> Path:
        """Path of the failure record: error, message, traceback, stage, time."""
        return self.path / "failed.json"

    @property
    def failed(self) -> bool:
        """Whether the last attempt at this cell failed."""
        return self.failure.is_file() and not self.is_done

    @property
    def model(self) -> Path:
        """Path of the classifier weights (safetensors)."""
        return self.path / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint of an unfinished training; removed when the training ends."""
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """Path of the second-to-last checkpoint, used if the last one is damaged."""
        return self.path / "checkpoint.previous.pt"

    def table(self, name: str) -> Path:
        """Return the path of the table `rows`, `curves`, `history` or `gallery`."""
        return self.path / f"{name}.parquet"

    @property
    def parts(self) -> Path:
        """Folder of the scores of image ranges, kept until the cell is finished."""
        return self.path / "parts"

    def record(self) -> CellRecord:
        """Return the content of `done.json`.

        Raises:
            MissingDataError: if the cell is not finished.
            BrokenFileError: if it is damaged.
        """
        remedy = (
            "repeat the command that made this run, which quarantines it and scores this cell again"
        )
        return decode(CellRecord, read_sealed(self.done, remedy=remedy), self.done)

    def write_weights(self, content: bytes) -> None:
        """Store the weights and the checksums of all files of the training.

        Checkpoints are removed; the training is complete.
        """
        known = {
            name: [file_digest(self.path / name)]
            for name in TRAINING_FILES[:-1]
            if (self.path / name).is_file()
        }
        known[self.model.name] = [hashlib.sha256(content).hexdigest()]
        write_bytes(sidecar_of(self.model), sidecar_text(known).encode())
        write_bytes(self.model, content)
        self.drop_checkpoints()

    def write_checkpoint(self, content: bytes) -> None:
        """Store the state of an unfinished training and keep the previous checkpoint.

        The sidecar is written first and lists earlier checksums too, so the checkpoint found
        after a kill always has its checksum there.
        """
        sidecar = sidecar_of(self.checkpoint)
        earlier = read_sidecar(sidecar)
        name = self.checkpoint.name
        known = {name: [hashlib.sha256(content).hexdigest(), *earlier.get(name, [])]}
        write_bytes(sidecar, sidecar_text(known).encode())
        with atomic_write(self.checkpoint) as temporary:
            temporary.write_bytes(content)
            self._keep_previous_checkpoint()

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints and their sidecar."""
        for path in (self.checkpoint, self.previous_checkpoint, sidecar_of(self.checkpoint)):
            path.unlink(missing_ok=True)

    def has_part(self, part: str) -> bool:
        """Return whether a part is stored."""
        return (self.parts / f"{part}.rows.parquet").is_file()

    def part_rows(self, part: str) -> pd.DataFrame | None:
        """Return the rows of a part, or None if it is not stored."""
        path = self.parts / f"{part}.rows.parquet"
        return read_parquet(path) if path.is_file() else None

    def write_part(self, part: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Store the tables of a part; rows are written last and mark a complete part."""
        for name in SCORE_TABLES[::-1]:
            if not tables[name].empty:
                write_parquet(self.parts / f"{part}.{name}.parquet", tables[name])

    def merge_parts(self, *, without: Sequence[str] = ()) -> int:
        """Merge the parts into the cell's tables, in bounded memory; return the number of rows.

        Args:
            without: metrics whose rows are dropped.
        """
        counts = {}
        for name in SCORE_TABLES:
            files = sorted(self.parts.glob(f"*.{name}.parquet"))
            files = [file for file in files if PART_FILE.fullmatch(file.name)]
            if files:
                dropped = without if name == "rows" else ()
                counts[name] = merge_parquet(files, self.table(name), without=dropped)
            else:
                write_parquet(self.table(name), pd.DataFrame(columns=list(EMPTY_COLUMNS[name])))
        return counts["rows"]

    def drop_parts(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _keep_previous_checkpoint(self) -> None:
        """Link the checkpoint to its second name; the first name exists at every moment."""
        link = self.path / f"{part_prefix(self.checkpoint.name)}link.part"
        try:
            # Some file systems have no hard links; there the previous checkpoint is not kept.
            with suppress(OSError):
                os.link(self.checkpoint, link)
                link.replace(self.previous_checkpoint)
        finally:
            link.unlink(missing_ok=True)


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
