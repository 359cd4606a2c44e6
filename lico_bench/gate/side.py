"""One side of a comparison: a run folder, or one of its arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.gate.facts import RunFacts, manifest_of
from lico_bench.stats import as_frame
from lico_bench.store import read_run
from lico_bench.store.run_location import split_side


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: name in messages, such as the folder.
        rows: columns `records.ROW_COLUMNS`.
        facts: facts of its metrics and methods.
        image_fingerprints: fingerprint of each dataset; empty without a manifest.
        arm: the arm to compare; None for all arms.
    """

    name: str
    rows: pd.DataFrame
    facts: RunFacts
    image_fingerprints: Mapping[str, str] = field(default_factory=dict)
    arm: str | None = None

    @classmethod
    def of(cls, scores: Any, *, name: str, arm: str | None = None) -> Side:
        """Return the side of `scores`: a run folder, rows, or anything with `to_frame()`.

        Raises:
            UnknownNameError: for an arm that the rows lack.
            InvalidInputError: if `scores` has invalid rows.
        """
        datasets = manifest_of(scores).datasets
        fingerprints = {dataset: facts.fingerprint for dataset, facts in datasets.items()}
        side = cls(name, as_frame(scores), RunFacts.of(scores), fingerprints, arm)
        if arm is not None and arm not in side.arms:
            raise UnknownNameError.of(f"arm in {name}", arm, side.arms)
        return side

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in order of first appearance."""
        return tuple(str(arm) for arm in self.rows["arm"].unique())

    def of_arm(self, arm: str) -> pd.DataFrame:
        """Return the rows of one arm."""
        return self.rows[self.rows["arm"] == arm]


def read_side(text: str) -> Side:
    """Read the side that `RUN` or `RUN:ARM` names.

    Raises:
        MissingDataError: if the run does not exist.
        UnknownNameError: for an arm that the run lacks.
    """
    folder, arm = split_side(text)
    return Side.of(read_run(folder), name=text, arm=arm)


def pair_arms(first: Side, second: Side) -> list[tuple[str, str]]:
    """Return the pairs of arms to compare: the named arms, else the arms of the same name.

    Raises:
        InvalidInputError: if no arm is named and no names match.
    """
    if first.arm or second.arm:
        first_arm = first.arm or _counterpart(first, str(second.arm))
        second_arm = second.arm or _counterpart(second, str(first.arm))
        return [(first_arm, second_arm)]
    shared = [(arm, arm) for arm in first.arms if arm in second.arms]
    if shared:
        return shared
    if len(first.arms) == len(second.arms) == 1:
        return [(first.arms[0], second.arms[0])]
    raise InvalidInputError(
        f"compare: expected arms of the same name, got {', '.join(first.arms)} in {first.name} and "
        f"{', '.join(second.arms)} in {second.name}; choose them with RUN:ARM"
    )


def _counterpart(side: Side, arm: str) -> str:
    if arm in side.arms:
        return arm
    if len(side.arms) == 1:
        return side.arms[0]
    raise UnknownNameError.of(f"arm in {side.name}", arm, side.arms)
