"""The report of a run on disk: everything is made beside its place, then put there at once.

In a folder of the user's choice, which may hold other things, each part takes its place by itself.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.claims import ClaimVerdict
from lico_bench.errors import DiskFullError, InvalidInputError
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent, gather
from lico_bench.report.figures import draw_figures
from lico_bench.report.latex import document, draw_tables
from lico_bench.report.output_folder import check_outside
from lico_bench.report.page import render_page
from lico_bench.stats import class_macro
from lico_bench.store import RunFolder, write_bytes, write_json
from lico_bench.store.files import naming_full_disk
from lico_bench.store.report_folder import RECORD, is_report_current, seal_report
from lico_bench.store.stale_files import part_prefix

VERDICTS_FORMAT = 2
PARTS = ("report.html", "verdicts.json", "tables", "figures")


@dataclass(frozen=True)
class ReportPaths:
    """Where the parts of a report are."""

    folder: Path
    html: Path
    verdicts: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def build_report(
    run: RunFolder, content: ReportContent | None = None, *, out: Path | None = None
) -> ReportPaths:
    """Write `RUN/report`: page, LaTeX and CSV tables, plots, verdicts. An older report is replaced.

    Args:
        run: whose report it is.
        content: what `gather(run)` gave, if it was made already.
        out: where it goes instead; nothing is written into the run then.

    Raises:
        InvalidInputError: for an `out` inside of a run, or one with files of somebody else where a
            report has its own; for a run folder that cannot be written.
        MissingDataError: if the folder holds no run, or no cell of it is finished.
        BrokenFileError: if a file of it is unreadable.
        NotComparableError: for rows that may not be compared.
    """
    content = content or gather(run)
    if out is not None:
        check_outside(out)
    folder = run.path / "report" if out is None else out
    with _replacing_folder(folder) if out is None else _filling_folder(folder) as draft:
        tables = _write_tables(content, draft / "tables")
        plots = list(draw_figures(content))
        for plot in plots:
            write_bytes(draft / "figures" / f"{plot.name}.png", plot.png)
            write_bytes(draft / "figures" / f"{plot.name}.pdf", plot.pdf)
        write_json(draft / "verdicts.json", _verdicts(content))
        write_bytes(draft / "report.html", render_page(content, plots, tables).encode())
        seal_report(run, draft, cells=set(content.rows["cell"].unique()))
    return _paths(folder)


def current_report(run: RunFolder) -> ReportPaths | None:
    """The report that is there, if it is whole and was made of what is stored now; else None."""
    folder = run.path / "report"
    is_there = (folder / "report.html").is_file() and bool(run.finished())
    return _paths(folder) if is_there and is_report_current(run) else None


def _paths(folder: Path) -> ReportPaths:
    return ReportPaths(
        folder=folder,
        html=folder / "report.html",
        verdicts=folder / "verdicts.json",
        tables=tuple(sorted((folder / "tables").iterdir())),
        figures=tuple(sorted((folder / "figures").iterdir())),
    )


def _write_tables(content: ReportContent, folder: Path) -> list[str]:
    """LaTeX and CSV; the stems of the LaTeX tables."""
    names = []
    for table in draw_tables(content):
        write_bytes(folder / f"{table.name}.tex", table.text.encode())
        names.append(table.name)
    write_bytes(folder / "all.tex", document(names).encode())
    means = pd.concat([block.means for block in content.blocks])
    _write_csv(folder / "means.csv", means)
    # A model's own scores have no class that was explained, but the one that it said.
    of_maps = content.rows[content.rows["method"] != ""]
    _write_csv(folder / "class_means.csv", class_macro(of_maps))
    pairs = [frame for block in content.blocks for frame in (block.differences, block.both_correct)]
    _write_csv(folder / "differences.csv", pd.concat(pairs))
    return names


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    flat = frame.copy()
    for column in ("seeds", "per_seed"):
        if column in flat:
            flat[column] = [" ".join(f"{one:.6g}" for one in cell) for cell in flat[column]]
    write_bytes(path, flat.to_csv(index=False, float_format="%.6f").encode())


def _verdicts(content: ReportContent) -> dict[str, Any]:
    """Every paired result with what it rests on, for other programs."""
    return {
        "format": VERDICTS_FORMAT,
        "suite": content.manifest["suite"].get("name"),
        "suite_key": content.manifest.get("suite_key"),
        "reference_arm": content.reference_arm,
        "interval_method": "two-level bootstrap: seeds and images; images alone with one seed",
        "correction": formatting.correction(content.num_compared) if content.num_compared else None,
        "notes": list(content.notes),
        "claims": [_claim(verdict) for verdict in content.claims],
        "results": [
            _result(content, row)
            for block in content.blocks
            for frame in (block.differences, block.both_correct)
            for _, row in frame.iterrows()
        ],
    }


def _result(content: ReportContent, row: pd.Series[Any]) -> dict[str, Any]:
    spec = content.specs[row["metric"]]
    facts = {str(name): _plain(value) for name, value in row.items()}
    return {
        **facts,
        "unit": spec.unit,
        "higher_is_better": spec.higher_is_better,
        "is_control": content.is_control(row["method"]),
        "effect": formatting.effect(row["low"], row["high"], spec, row["p_holm"]),
    }


def _claim(verdict: ClaimVerdict) -> dict[str, Any]:
    facts = {name: _plain(value) for name, value in asdict(verdict.claim).items()}
    evidence = [
        {name: _plain(value) for name, value in asdict(one).items()} for one in verdict.evidence
    ]
    return {
        **facts, "outcome": verdict.outcome, "sentence": verdict.sentence, "evidence": evidence
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor numpy's numbers."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder that takes the place of `folder` if the block ends well and vanishes if not."""
    draft = _draft(folder.name, folder.parent, "name another folder for it with --out")
    old = draft.with_suffix(".old")
    try:
        yield draft
        if folder.is_symlink():
            folder.unlink()  # what it leads to is not ours
        if folder.exists():
            folder.rename(old)
        try:
            draft.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _filling_folder(folder: Path) -> Iterator[Path]:
    """A folder whose content moves into `folder` if the block ends well and vanishes if not."""
    if not (folder / RECORD).is_file():
        taken = [name for name in PARTS if os.path.lexists(folder / name)]
        if taken:
            raise InvalidInputError(
                f"--out {folder}: expected room for a report, but {taken[0]} is there and of no "
                "report; name another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error, "name another --out") from error
    draft = _draft("report", folder, "name another --out")
    try:
        yield draft
        for part in sorted(draft.iterdir()):
            place = folder / part.name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
            part.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _draft(name: str, parent: Path, remedy: str) -> Path:
    """A new folder in `parent` that everybody may read: mkdtemp makes it private."""
    try:
        with naming_full_disk(parent / name):
            made = tempfile.mkdtemp(prefix=part_prefix(name), suffix=".part", dir=parent)
    except DiskFullError:
        raise
    except OSError as error:
        raise _unwritable(parent, error, remedy) from error
    draft = Path(made)
    draft.chmod(0o755)
    return draft


def _unwritable(folder: Path, error: OSError, remedy: str) -> InvalidInputError:
    return InvalidInputError(
        f"{folder}: the report cannot be written there ({error.strerror or error}); {remedy}"
    )
