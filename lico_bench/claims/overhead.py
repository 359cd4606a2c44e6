"""What a forward costs the two arms of a claim: counts, which are equal or are not."""

from __future__ import annotations

from typing import Any

import pandas as pd

from lico_bench.claims.comparisons import Setting, complete_pairs
from lico_bench.claims.missing_evidence import Scope
from lico_bench.claims.outcomes import STANDIN
from lico_bench.claims.records import Claim, Evidence, Outcome

COUNTS = ("parameters", "gigaflop")


def overhead_evidence(
    claim: Claim, rows: pd.DataFrame, scope: Scope, inference: pd.DataFrame | None
) -> tuple[Evidence, ...]:
    """One piece of evidence per setting that the claim is made for.

    Args:
        inference: cell, parameters and gigaflop; cells that were not counted are not in it.
    """
    cells = rows.loc[~rows["cell"].duplicated(), [*Setting._fields, "pair", "arm", "cell"]]
    cells = cells[cells["arm"].isin([claim.arm, claim.reference_arm])]
    if inference is not None:
        cells = cells.merge(inference, on="cell", how="left")
    groups = cells.groupby(list(Setting._fields), observed=True)
    parts = {Setting(*map(str, key)): part for key, part in groups}
    return tuple(
        _piece(claim, setting, parts.get(setting, cells.iloc[:0]))
        for setting in scope.settings_of(claim)
    )


def _piece(claim: Claim, setting: Setting, cells: pd.DataFrame) -> Evidence:
    pairs = complete_pairs(cells, claim.arm, claim.reference_arm)
    cells = cells[cells["pair"].isin(pairs)]

    def message(outcome: Outcome, sentence: str) -> Evidence:
        facts = {**setting._asdict(), "method": "", "num_seeds": len(pairs)}
        return Evidence(**facts, outcome=outcome, sentence=sentence)

    if not pairs:
        return message("not_tested", "no pair is complete; repeat the same `lico-bench run`")
    if "parameters" not in cells or cells[list(COUNTS)].isna().any(axis=None):
        return message(
            "not_tested",
            "the run was made before the cost of a forward was counted; a new run counts it",
        )
    outcome, sentence = _compare(claim, cells)
    if setting.source == "standin":
        return message("not_tested", f"{STANDIN} ({sentence})")
    if len(pairs) < claim.min_seeds:
        seeds = "one training" if len(pairs) == 1 else f"{len(pairs)} trainings"
        why = f"{seeds} per arm, the claim asks for {claim.min_seeds}"
        return message("inconclusive", f"{why}; {sentence}")
    return message(outcome, sentence)


def _compare(claim: Claim, cells: pd.DataFrame) -> tuple[Outcome, str]:
    """Supported if no pair needs more of anything, contradicted if one does."""
    ours = cells[cells["arm"] == claim.arm].set_index("pair").sort_index()
    theirs = cells[cells["arm"] == claim.reference_arm].set_index("pair").sort_index()
    more: Any = (ours[list(COUNTS)] > theirs[list(COUNTS)]).any(axis=1)
    if more.any():
        pair = more.idxmax()
        message = f"{_counts(ours.loc[pair])} against {_counts(theirs.loc[pair])}"
        return "contradicted", f"{claim.arm} needs more than {claim.reference_arm}: {message}"
    if (ours[list(COUNTS)] == theirs[list(COUNTS)]).all(axis=None):
        return "supported", f"equal in both arms: {_counts(ours.iloc[0])}"
    message = f"{_counts(ours.iloc[0])} against {_counts(theirs.iloc[0])}"
    return "supported", f"{claim.arm} needs less than {claim.reference_arm}: {message}"


def _counts(cell: Any) -> str:
    each = f"{cell['gigaflop']:.6g} GFLOP per image"
    return f"{int(cell['parameters']):,} parameters, {each}"
