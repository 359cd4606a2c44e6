"""A new reference in place of an old one, and what that changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.errors import BrokenFileError, MissingDataError
from lico_bench.gate.facts import RunFacts
from lico_bench.gate.reference import (
    IMAGES,
    KEY_COLUMNS,
    REFERENCE_COLUMNS,
    WRITTEN_DIGITS,
    facts_of,
    make_reference,
    read_reference,
    read_table,
    store_reference,
)
from lico_bench.gate.selection import ALL, Selection
from lico_bench.gate.uncertainty import default_margin

_ALSO = ("source", "protocol", "num_images", "num_seeds", IMAGES)


@dataclass(frozen=True)
class Change:
    """One score of the reference before and after, as texts; empty where it was not, or is not."""

    score: str
    was: str
    now: str
    moved: str
    also: str


@dataclass(frozen=True)
class Update:
    """What an update did: the new table, the rows that differ, and sentences worth reading."""

    frame: pd.DataFrame
    changes: tuple[Change, ...]
    sentence: str
    notes: tuple[str, ...]


def update_reference(
    scores: Any, path: Path, *, margin: float | None = None, only: Selection = ALL
) -> Update:
    """Write the scores as the reference, replaced in one step, and say what that changed.

    Margins that a person set (they differ from the rule's) are kept, unless `margin` is given.

    Args:
        scores, margin: as `make_reference` takes them.
        only: what is replaced; rows of other metrics and methods stay as they are.

    Raises:
        BrokenFileError: if `path` is a file that is no reference; it is left alone.
        UnknownNameError: for a metric or method in `only` that the scores lack.
        InvalidInputError: as `make_reference` does.
    """
    old, notes = _old(path)
    new = make_reference(scores, margin=margin)
    only.check_known(new, "the run")
    new = new[only.of(new)]
    if old is not None and margin is None:
        new = _with_set_margins(old, new)
    if old is not None and not old.empty:
        new = pd.concat([old[~only.of(old)], new], ignore_index=True)
    new = new.reset_index(drop=True)
    store_reference(new, path)
    changes, sentence = _compare(old, new)
    return Update(new, changes, sentence, (*notes, *_powerless(new, RunFacts.of(scores))))


def _old(path: Path) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """The reference that is there, if it can be read; one of another version cannot."""
    try:
        return read_reference(path), ()
    except MissingDataError:
        return None, ()
    except BrokenFileError as error:
        if not set(KEY_COLUMNS) <= set(read_table(path).columns):
            raise BrokenFileError(
                f"{path} is there and is no reference of lico-bench; name another file"
            ) from error
        return None, (f"The file that was there could not be read: {error}",)


def _with_set_margins(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    kept = {
        _key(row): float(row["margin"])
        for _, row in old.iterrows()
        if not math.isclose(row["margin"], default_margin(facts_of(row)), abs_tol=1e-9)
    }
    return new.assign(margin=[kept.get(_key(row), row["margin"]) for _, row in new.iterrows()])


def _compare(old: pd.DataFrame | None, new: pd.DataFrame) -> tuple[tuple[Change, ...], str]:
    before = {} if old is None else {_key(row): row for _, row in old.iterrows()}
    after = {_key(row): row for _, row in new.iterrows()}
    moved = [
        _moved(before[key], row)
        for key, row in after.items()
        if key in before and _differs(before[key], row)
    ]
    added = [
        Change(_name(row), "", f"{row['mean']:.4f}", "added", f"margin {row['margin']:.3f}")
        for key, row in after.items()
        if key not in before
    ]
    removed = [
        Change(_name(row), f"{row['mean']:.4f}", "", "removed", "")
        for key, row in before.items()
        if key not in after
    ]
    unchanged = len(after) - len(moved) - len(added)
    sentence = (
        f"{len(moved)} changed, {len(added)} added, {len(removed)} removed, "
        f"{unchanged} unchanged of {len(after)} scores"
    )
    listed = added if old is not None else []  # a first reference is all new
    return (*moved, *removed, *listed), sentence


def _moved(old: pd.Series[Any], new: pd.Series[Any]) -> Change:
    step = float(new["mean"]) - float(old["mean"])
    is_better = (step > 0) == bool(new["higher_is_better"])
    message = "the mean is the same"
    if round(step, WRITTEN_DIGITS):
        message = f"{step:+.4f}, {'better' if is_better else 'worse'}"
    also = (
        [f"margin {old['margin']:.3f} → {new['margin']:.3f}"] if _apart(old, new, "margin") else []
    )
    also += [f"{name} {old[name]} → {new[name]}" for name in _ALSO
             if str(old[name]) != str(new[name])]  # fmt: skip
    return Change(_name(new), f"{old['mean']:.4f}", f"{new['mean']:.4f}", message, "; ".join(also))


def _differs(old: pd.Series[Any], new: pd.Series[Any]) -> bool:
    numbers = ("mean", "image_error", "seed_spread", "margin", "num_images", "num_seeds")
    return any(_apart(old, new, name) for name in numbers) or any(
        str(old[name]) != str(new[name])
        for name in REFERENCE_COLUMNS
        if name not in (*numbers, *KEY_COLUMNS)
    )


def _apart(old: pd.Series[Any], new: pd.Series[Any], name: str) -> bool:
    was, now = float(old[name]), float(new[name])
    if math.isnan(was) or math.isnan(now):
        return math.isnan(was) != math.isnan(now)
    return round(was, WRITTEN_DIGITS) != round(now, WRITTEN_DIGITS)


def _powerless(frame: pd.DataFrame, facts: RunFacts) -> tuple[str, ...]:
    """A sentence on scores whose margin is as wide as all that they can lose."""
    count = 0
    for _, row in frame.iterrows():
        low, high = facts.metrics.get(row["metric"], {}).get("bounds") or (None, None)
        worst = low if row["higher_is_better"] else high
        count += worst is not None and abs(row["mean"] - worst) <= row["margin"]
    if not count:
        return ()
    return (
        f"{count} of {len(frame)} scores have a margin as wide as all they can lose and cannot "
        "fail; score more images, write the reference from more trainings, or narrow the margin",
    )


def _key(row: pd.Series[Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in KEY_COLUMNS)


def _name(row: pd.Series[Any]) -> str:
    of_method = f" of {row['method']}" if row["method"] else ""
    budget = "" if row["labels"] == "full" else f", {row['labels']} labels"
    arrow = "↑" if row["higher_is_better"] else "↓"
    return f"{row['dataset']}, {row['arm']}{budget}: {row['metric']} {arrow}{of_method}"
