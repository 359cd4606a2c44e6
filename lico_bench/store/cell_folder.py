"""The files of one trained model and its scores, each written whole and with its checksum."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.errors import BrokenFileError
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS
from lico_bench.store.digests import (
    SEAL,
    file_digest,
    has_valid_seal,
    read_sidecar,
    sidecar_of,
    sidecar_text,
)
from lico_bench.store.files import (
    merge_parquet,
    read_json,
    read_parquet,
    replacing,
    write_bytes,
    write_parquet,
)
from lico_bench.store.stale_files import part_prefix
from lico_bench.store.untrusted import check_facts

SCORE_TABLES = ("rows", "curves", "gallery")
EMPTY = {"rows": ROW_COLUMNS, "curves": CURVE_COLUMNS, "gallery": ("cell", "image_id", "method")}
# What a training leaves; the weights come last: where they are, the training is whole.
TRAINED = ("history.parquet", "findings.json", "labelled_images.json", "model.safetensors")
PART_FILE = re.compile(r"(?P<part>(classified|scored)-\d{8}-\d{8})\.(rows|curves|gallery)\.parquet")


@dataclass(frozen=True)
class CellFolder:
    """The files of one trained model and its scores."""

    path: Path

    @property
    def done(self) -> Path:
        """Facts and checksums of a finished cell; written last."""
        return self.path / "done.json"

    @property
    def is_done(self) -> bool:
        """Whether everything of this cell was written."""
        return self.done.is_file()

    @property
    def recipe(self) -> Path:
        """The cell's entry of the manifest."""
        return self.path / "recipe.json"

    @property
    def failure(self) -> Path:
        """Why this cell failed: error, sentence, traceback, stage, time."""
        return self.path / "failed.json"

    @property
    def failed(self) -> bool:
        """Whether the last try at this cell failed."""
        return self.failure.is_file() and not self.is_done

    @property
    def model(self) -> Path:
        """Weights of the classifier alone, safetensors."""
        return self.path / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """State of an unfinished training; gone when the training is done."""
        return self.path / "checkpoint.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last, for the day on which that one is damaged."""
        return self.path / "checkpoint.previous.pt"

    def table(self, name: str) -> Path:
        """Path of `rows`, `curves`, `history` or `gallery`."""
        return self.path / f"{name}.parquet"

    @property
    def parts(self) -> Path:
        """Where the scores of ranges of images lie until the cell is whole."""
        return self.path / "parts"

    def facts(self) -> dict[str, Any]:
        """The content of `done.json`.

        Raises:
            MissingDataError: if the cell is not finished.
            BrokenFileError: if it is not what was written.
        """
        facts = read_json(self.done)
        if not isinstance(facts, dict) or not has_valid_seal(facts) or not _lists_files(facts):
            raise BrokenFileError(
                f"{self.done}: not what was written; repeat the same command, which sets it aside "
                "and makes this cell's scores anew"
            )
        check_facts(facts, self.done)
        return dict(facts)

    def write_weights(self, content: bytes) -> None:
        """Store the weights, and beside them the checksums of all that the training left.

        The checkpoints go: what they hold is in the weights.
        """
        known = {
            name: [file_digest(self.path / name)]
            for name in TRAINED[:-1]
            if (self.path / name).is_file()
        }
        known[self.model.name] = [hashlib.sha256(content).hexdigest()]
        write_bytes(sidecar_of(self.model), sidecar_text(known).encode())
        write_bytes(self.model, content)
        self.drop_checkpoints()

    def write_checkpoint(self, content: bytes) -> None:
        """Store the state of an unfinished training; the one before stays beside it.

        The checksum is told first, beside those of before: whichever of the files is found after a
        kill, its checksum is among them.
        """
        sidecar = sidecar_of(self.checkpoint)
        before = read_sidecar(sidecar) if sidecar.is_file() else {}
        name = self.checkpoint.name
        known = {name: [hashlib.sha256(content).hexdigest(), *before.get(name, [])]}
        write_bytes(sidecar, sidecar_text(known).encode())
        with replacing(self.checkpoint) as part:
            part.write_bytes(content)
            self._keep_checkpoint()

    def drop_checkpoints(self) -> None:
        """Remove what only an unfinished training needs."""
        for path in (self.checkpoint, self.previous_checkpoint, sidecar_of(self.checkpoint)):
            path.unlink(missing_ok=True)

    def has_part(self, part: str) -> bool:
        """Whether a part is stored."""
        return (self.parts / f"{part}.rows.parquet").is_file()

    def part_rows(self, part: str) -> pd.DataFrame | None:
        """The rows of a stored part; None if it is not there."""
        path = self.parts / f"{part}.rows.parquet"
        return read_parquet(path) if path.is_file() else None

    def write_part(self, part: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Store the tables of a part; its rows come last: where they are, it is whole."""
        for name in SCORE_TABLES[::-1]:
            if not tables[name].empty:
                write_parquet(self.parts / f"{part}.{name}.parquet", tables[name])

    def join_parts(self, *, without: Sequence[str] = ()) -> int:
        """Make the cell's tables of its parts, in bounded memory; the number of rows.

        Args:
            without: metrics whose rows are left out.
        """
        counts = {}
        for name in SCORE_TABLES:
            found = sorted(self.parts.glob(f"*.{name}.parquet"))
            found = [part for part in found if PART_FILE.fullmatch(part.name)]
            if found:
                dropped = without if name == "rows" else ()
                counts[name] = merge_parquet(found, self.table(name), without=dropped)
            else:
                write_parquet(self.table(name), pd.DataFrame(columns=list(EMPTY[name])))
        return counts["rows"]

    def drop_parts(self) -> None:
        """Remove the parts; what they hold is in the tables."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _keep_checkpoint(self) -> None:
        """Give the checkpoint its second name. At every moment there is one under the first."""
        spare = self.path / f"{part_prefix(self.checkpoint.name)}link.part"
        try:
            # Some file systems know no second names; there the one before is not kept.
            with suppress(OSError):
                os.link(self.checkpoint, spare)
                spare.replace(self.previous_checkpoint)
        finally:
            spare.unlink(missing_ok=True)


def _lists_files(facts: Mapping[str, Any]) -> bool:
    """Whether `files` is what checks can rely on: plain names, sizes and digests, under a seal."""
    if "files" not in facts:
        return True
    files = facts["files"]
    return (
        SEAL in facts
        and isinstance(files, dict)
        and all(
            Path(name).name == name != ".."
            and isinstance(fact, dict)
            and isinstance(fact.get("sha256"), str)
            and isinstance(fact.get("bytes"), int)
            for name, fact in files.items()
        )
    )
