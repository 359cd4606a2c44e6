"""Write the report of a run: page, tables, figures and verdicts.

All parts are written to a temporary folder first, which then replaces `RUN/report`. With `out`, a
folder that may hold other files, each part is moved separately.
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

from lico_bench.claims import RULES, ClaimVerdict
from lico_bench.errors import DiskFullError, InvalidInputError
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.figures.canvas import Plot, arm_by_cell, plot_style
from lico_bench.report.figures.curves import draw_curves, draw_sanity, draw_training
from lico_bench.report.figures.forest import draw_forests
from lico_bench.report.figures.maps import draw_galleries
from lico_bench.report.figures.models import draw_scatter, draw_seeds
from lico_bench.report.gallery import first_cells
from lico_bench.report.gathering import gather
from lico_bench.report.latex import document, draw_tables
from lico_bench.report.page import render_page
from lico_bench.stats import class_macro
from lico_bench.stats.sanity import CASCADE
from lico_bench.store import RunFolder, write_bytes, write_json
from lico_bench.store.files import naming_full_disk
from lico_bench.store.report_folder import RECORD, is_report_current, seal_report
from lico_bench.store.stale_files import part_prefix

VERDICTS_FORMAT = 3
PARTS = ("report.html", "verdicts.json", "tables", "figures")


@dataclass(frozen=True)
class ReportPaths:
    """Paths of the parts of a report."""

    folder: Path
    html: Path
    verdicts: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]


def build_report(
    run: RunFolder, content: ReportContent | None = None, *, out: Path | None = None
) -> ReportPaths:
    """Write `RUN/report`: page, LaTeX and CSV tables, figures, verdicts. Replaces an older report.

    Args:
        run: the run to report.
        content: the result of `gather(run)`, if it is already computed.
        out: folder to write to instead of `RUN/report`; nothing is then written into the run.

    Raises:
        InvalidInputError: if `out` lies inside a run or holds files that are not part of a report
            under the names of its parts, or if the folder cannot be written.
        MissingDataError: if the folder holds no run or the run has no finished cell.
        BrokenFileError: if a file of the run is unreadable.
        NotComparableError: if the rows may not be compared.
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
    """Return the paths of the stored report if it is complete and up to date, else None."""
    folder = run.path / "report"
    exists = (folder / "report.html").is_file() and bool(run.finished())
    return _paths(folder) if exists and is_report_current(run) else None


def draw_figures(content: ReportContent) -> Iterator[Plot]:
    """Draw the plots that compare datasets, then the plots of each dataset."""
    with plot_style():
        yield from draw_forests(content)
        yield from draw_seeds(content)
        yield from draw_scatter(content)
        history = content.run.history()
        for block in content.blocks:
            # Curves are read per dataset because those of a large run take gigabytes.
            curves = content.run.curves(arm_by_cell(content, block))
            is_cascade = curves["curve"] == CASCADE
            yield from draw_curves(content, block, curves[~is_cascade])
            yield from draw_sanity(content, block, curves[is_cascade])
            gallery = content.run.gallery(first_cells(content, block))
            yield from draw_galleries(content, block, gallery)
            yield from draw_training(content, block, history)


def _paths(folder: Path) -> ReportPaths:
    return ReportPaths(
        folder=folder,
        html=folder / "report.html",
        verdicts=folder / "verdicts.json",
        tables=tuple(sorted((folder / "tables").iterdir())),
        figures=tuple(sorted((folder / "figures").iterdir())),
    )


def _write_tables(content: ReportContent, folder: Path) -> list[str]:
    """Write the LaTeX and CSV tables; return the stems of the LaTeX tables."""
    names = []
    for table in draw_tables(content):
        write_bytes(folder / f"{table.name}.tex", table.text.encode())
        names.append(table.name)
    write_bytes(folder / "all.tex", document(names).encode())
    means = pd.concat([block.means for block in content.blocks])
    _write_csv(folder / "means.csv", means)
    # Model scores have a predicted class but no explained class.
    saliency_rows = content.rows[content.rows["method"] != ""]
    _write_csv(folder / "class_means.csv", class_macro(saliency_rows))
    pairs = [frame for block in content.blocks for frame in (block.differences, block.both_correct)]
    _write_csv(folder / "differences.csv", pd.concat(pairs))
    return names


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    flat = frame.copy()
    for column in ("seeds", "per_seed"):
        if column in flat:
            flat[column] = [
                " ".join(f"{number:.6g}" for number in numbers) for numbers in flat[column]
            ]
    write_bytes(path, flat.to_csv(index=False, float_format="%.6f").encode())


def _verdicts(content: ReportContent) -> dict[str, Any]:
    """Return every paired result with its statistics, for other programs."""
    return {
        "format": VERDICTS_FORMAT,
        "suite": content.manifest.suite.name,
        "suite_key": content.manifest.suite_key,
        "reference_arm": content.reference_arm,
        "interval_method": "two-level bootstrap: seeds and images; images alone with one seed",
        "correction": formatting.correction(content.num_compared) if content.num_compared else None,
        "notes": list(content.notes),
        "rules": RULES,
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
    return {
        **_json_fields(row),
        "unit": spec.unit,
        "higher_is_better": spec.higher_is_better,
        "is_control": content.is_control(row["method"]),
        "effect": formatting.effect(row["low"], row["high"], spec, row["q_value"]),
    }


def _claim(verdict: ClaimVerdict) -> dict[str, Any]:
    return {
        **_json_fields(asdict(verdict.claim)),
        "outcome": verdict.outcome,
        "sentence": verdict.sentence,
        "pooled": None if verdict.pooled is None else asdict(verdict.pooled),
        "evidence": [_json_fields(asdict(evidence)) for evidence in verdict.evidence],
    }


def _json_fields(fields: Any) -> dict[str, Any]:
    """Return fields with Python scalars; NaN and infinity, which JSON lacks, become None."""
    values = {
        str(name): value.item() if hasattr(value, "item") else value
        for name, value in fields.items()
    }
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def check_outside(out: Path) -> None:
    """Check that `out` is not inside a run folder, which holds only files of the run.

    Raises:
        InvalidInputError: if `out` is a run folder or lies inside one.
    """
    for folder in (out.resolve(), *out.resolve().parents):
        if RunFolder(folder).manifest_path.is_file():
            raise InvalidInputError(
                f"--out {out}: expected a folder outside of every run, but {folder} is a run; "
                "choose another folder, such as results/history"
            )


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `folder` on success and is removed on error."""
    draft = _make_draft(folder.name, folder.parent, "choose another folder with --out")
    old = draft.with_suffix(".old")
    try:
        yield draft
        if folder.is_symlink():
            folder.unlink()  # keep the target of the link
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
    """Yield a temporary folder whose parts move into `folder` on success; remove it on error."""
    if not (folder / RECORD).is_file():
        conflicts = [name for name in PARTS if os.path.lexists(folder / name)]
        if conflicts:
            raise InvalidInputError(
                f"--out {folder}: expected an earlier report or none of its files, but "
                f"{conflicts[0]} exists and is not part of a report; choose another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error, "choose another --out") from error
    draft = _make_draft("report", folder, "choose another --out")
    try:
        yield draft
        for part in sorted(draft.iterdir()):
            target = folder / part.name
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            part.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _make_draft(name: str, parent: Path, remedy: str) -> Path:
    """Create a temporary folder in `parent` with mode 0755; mkdtemp sets 0700."""
    try:
        with naming_full_disk(parent / name):
            path = tempfile.mkdtemp(prefix=part_prefix(name), suffix=".part", dir=parent)
    except DiskFullError:
        raise
    except OSError as error:
        raise _unwritable(parent, error, remedy) from error
    draft = Path(path)
    draft.chmod(0o755)
    return draft


def _unwritable(folder: Path, error: OSError, remedy: str) -> InvalidInputError:
    return InvalidInputError(
        f"{folder}: the report cannot be written there ({error.strerror or error}); {remedy}"
    )
