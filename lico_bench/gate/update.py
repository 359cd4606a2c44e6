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
    ReferenceScore,
    make_reference,
    read_reference,
    read_table,
    rows_as,
    store_reference,
)
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.uncertainty import default_margin
from lico_bench.number_text import signed

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
        score.key: score.margin
        for score in rows_as(ReferenceScore, old)
        if not math.isclose(score.margin, default_margin(score.facts), abs_tol=1e-9)
    }
    scores = rows_as(ReferenceScore, new)
    return new.assign(margin=[set_margins.get(score.key, score.margin) for score in scores])


def _list_changes(old: pd.DataFrame | None, new: pd.DataFrame) -> tuple[tuple[Change, ...], str]:
    before = {} if old is None else {score.key: score for score in rows_as(ReferenceScore, old)}
    after = {score.key: score for score in rows_as(ReferenceScore, new)}
    changed = [
        _changed_score(before[key], score)
        for key, score in after.items()
        if key in before and _differing(before[key], score)
    ]
    added = [
        Change(_score_text(score), "", f"{score.mean:.4f}", "added", f"margin {score.margin:.3f}")
        for key, score in after.items()
        if key not in before
    ]
    removed = [
        Change(_score_text(score), f"{score.mean:.4f}", "", "removed", "")
        for key, score in before.items()
        if key not in after
    ]
    unchanged = len(after) - len(changed) - len(added)
    sentence = (
        f"{len(changed)} changed, {len(added)} added, {len(removed)} removed, "
        f"{unchanged} unchanged of {len(after)} scores"
    )
    listed = added if old is not None else []  # every score of a first reference is new
    return (*changed, *removed, *listed), sentence


def _changed_score(old: ReferenceScore, new: ReferenceScore) -> Change:
    step = new.mean - old.mean
    change = "mean unchanged"
    if round(step, NUM_DECIMALS):
        is_better = (step > 0) == new.higher_is_better
        change = f"{signed(step, 4)}, {'better' if is_better else 'worse'}"
    differing = _differing(old, new)
    others = [f"margin {old.margin:.3f} → {new.margin:.3f}"] if "margin" in differing else []
    others += [
        f"{name} {getattr(old, name)} → {getattr(new, name)}"
        for name in _OTHER_COLUMNS
        if name in differing
    ]
    before, after = f"{old.mean:.4f}", f"{new.mean:.4f}"
    return Change(_score_text(new), before, after, change, "; ".join(others))


def _differing(old: ReferenceScore, new: ReferenceScore) -> list[str]:
    """Return the columns that differ; NaN equals NaN, and numbers are rounded as in the file."""
    pairs = {name: (getattr(old, name), getattr(new, name)) for name in REFERENCE_COLUMNS}
    return [name for name, (before, after) in pairs.items() if _stored(before) != _stored(after)]


def _stored(value: object) -> object:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, NUM_DECIMALS)
    return value


def _cannot_fail_notes(frame: pd.DataFrame, facts: RunFacts) -> tuple[str, ...]:
    """Return a note on scores whose margin is at least their largest possible loss, if any."""
    count = 0
    for score in rows_as(ReferenceScore, frame):
        low, high = facts.spec(score.metric).bounds
        worst = low if score.higher_is_better else high
        count += worst is not None and abs(score.mean - worst) <= score.margin
    if not count:
        return ()
    return (
        f"{count} of {len(frame)} scores cannot fail, because their margin is at least their "
        "largest possible loss; score more images, write the reference from more trainings, or "
        "reduce the margin",
    )


def _score_text(score: ReferenceScore) -> str:
    of_method = f" of {score.method}" if score.method else ""
    budget = "" if score.labels == "full" else f", {score.labels} labels"
    arrow = "↑" if score.higher_is_better else "↓"
    return f"{score.dataset}, {score.arm}{budget}: {score.metric} {arrow}{of_method}"
