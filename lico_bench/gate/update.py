"""Update of a reference, with a list of the changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.gate.facts import RunFacts
from lico_bench.gate.reference import (
    IMAGES_COLUMN,
    KEY_COLUMNS,
    NUM_DECIMALS,
    REFERENCE_COLUMNS,
    make_reference,
    mean_facts,
    read_reference,
    read_table,
    store_reference,
)
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.uncertainty import default_margin

_OTHER_COLUMNS = ("source", "protocol", "num_images", "num_seeds", IMAGES_COLUMN)


@dataclass(frozen=True)
class Change:
    """Texts on one changed score of a reference.

    Attributes:
        before, after: means; empty if the score was added or removed.
        change: change of the mean, `added` or `removed`.
        others: changes of the margin and other columns.
    """

    score: str
    before: str
    after: str
    change: str
    others: str


@dataclass(frozen=True)
class Update:
    """Result of an update: the new table, the changed scores, a summary and notes."""

    frame: pd.DataFrame
    changes: tuple[Change, ...]
    sentence: str
    notes: tuple[str, ...]


def update_reference(
    scores: Any, path: Path, *, margin: float | None = None, only: Selection = ALL
) -> Update:
    """Write the scores as the reference, atomically, and return the changes.

    Margins set by hand (different from the default margin) are kept, unless `margin` is given.

    Args:
        scores, margin: see `make_reference`.
        only: metrics and methods to replace; other rows are kept.

    Raises:
        BrokenFileError: if `path` is a file but not a reference; it is not changed.
        UnknownNameError: for a metric or method in `only` that the scores lack.
        InvalidInputError: see `make_reference`.
    """
    old, notes = _read_old(path)
    new = make_reference(scores, margin=margin)
    only.check_known(new, "the run")
    new = new[only.mask(new)]
    if old is not None and margin is None:
        new = _keep_set_margins(old, new)
    if old is not None and not old.empty:
        new = pd.concat([old[~only.mask(old)], new], ignore_index=True)
    new = new.reset_index(drop=True)
    store_reference(new, path)
    changes, sentence = _list_changes(old, new)
    return Update(new, changes, sentence, (*notes, *_cannot_fail_notes(new, RunFacts.of(scores))))


def _read_old(path: Path) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Return the existing reference and notes; None if there is none or its version is unknown."""
    try:
        return read_reference(path), ()
    except MissingDataError:
        return None, ()
    except BrokenFileError as error:
        if not set(KEY_COLUMNS) <= set(read_table(path).columns):
            raise BrokenFileError(
                f"{path}: expected a reference of lico-bench, got another file; choose another path"
            ) from error
        return None, (f"The old reference could not be read and was replaced: {error}",)


def _keep_set_margins(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    set_margins = {
        _key(row): float(row["margin"])
        for _, row in old.iterrows()
        if not math.isclose(row["margin"], default_margin(mean_facts(row)), abs_tol=1e-9)
    }
    margins = [set_margins.get(_key(row), row["margin"]) for _, row in new.iterrows()]
    return new.assign(margin=margins)


def _list_changes(old: pd.DataFrame | None, new: pd.DataFrame) -> tuple[tuple[Change, ...], str]:
    before = {} if old is None else {_key(row): row for _, row in old.iterrows()}
    after = {_key(row): row for _, row in new.iterrows()}
    changed = [
        _changed_score(before[key], row)
        for key, row in after.items()
        if key in before and _differs(before[key], row)
    ]
    added = [
        Change(_score_text(row), "", f"{row['mean']:.4f}", "added", f"margin {row['margin']:.3f}")
        for key, row in after.items()
        if key not in before
    ]
    removed = [
        Change(_score_text(row), f"{row['mean']:.4f}", "", "removed", "")
        for key, row in before.items()
        if key not in after
    ]
    unchanged = len(after) - len(changed) - len(added)
    sentence = (
        f"{len(changed)} changed, {len(added)} added, {len(removed)} removed, "
        f"{unchanged} unchanged of {len(after)} scores"
    )
    listed = added if old is not None else []  # every score of a first reference is new
    return (*changed, *removed, *listed), sentence


def _changed_score(old: pd.Series[Any], new: pd.Series[Any]) -> Change:
    step = float(new["mean"]) - float(old["mean"])
    is_better = (step > 0) == bool(new["higher_is_better"])
    change = "mean unchanged"
    if round(step, NUM_DECIMALS):
        change = f"{step:+.4f}, {'better' if is_better else 'worse'}"
    others = []
    if _numbers_differ(old, new, "margin"):
        others.append(f"margin {old['margin']:.3f} → {new['margin']:.3f}")
    others += [
        f"{name} {old[name]} → {new[name]}"
        for name in _OTHER_COLUMNS
        if str(old[name]) != str(new[name])
    ]
    before, after = f"{old['mean']:.4f}", f"{new['mean']:.4f}"
    return Change(_score_text(new), before, after, change, "; ".join(others))


def _differs(old: pd.Series[Any], new: pd.Series[Any]) -> bool:
    numbers = ("mean", "image_error", "seed_spread", "margin", "num_images", "num_seeds")
    return any(_numbers_differ(old, new, name) for name in numbers) or any(
        str(old[name]) != str(new[name])
        for name in REFERENCE_COLUMNS
        if name not in (*numbers, *KEY_COLUMNS)
    )


def _numbers_differ(old: pd.Series[Any], new: pd.Series[Any], name: str) -> bool:
    before, after = float(old[name]), float(new[name])
    if math.isnan(before) or math.isnan(after):
        return math.isnan(before) != math.isnan(after)
    return round(before, NUM_DECIMALS) != round(after, NUM_DECIMALS)


def _cannot_fail_notes(frame: pd.DataFrame, facts: RunFacts) -> tuple[str, ...]:
    """Return a note on scores whose margin is at least their largest possible loss, if any."""
    count = 0
    for _, row in frame.iterrows():
        low, high = facts.bounds(row["metric"])
        worst = low if row["higher_is_better"] else high
        count += worst is not None and abs(row["mean"] - worst) <= row["margin"]
    if not count:
        return ()
    return (
        f"{count} of {len(frame)} scores cannot fail, because their margin is at least their "
        "largest possible loss; score more images, write the reference from more trainings, or "
        "reduce the margin",
    )


def _key(row: pd.Series[Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY_COLUMNS)


def _score_text(row: pd.Series[Any]) -> str:
    of_method = f" of {row['method']}" if row["method"] else ""
    budget = "" if row["labels"] == "full" else f", {row['labels']} labels"
    arrow = "↑" if row["higher_is_better"] else "↓"
    return f"{row['dataset']}, {row['arm']}{budget}: {row['metric']} {arrow}{of_method}"
