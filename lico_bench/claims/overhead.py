"""Evidence on claims about inference cost, from exact counts of a forward pass."""

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
    """Return the evidence on the claim in each of its settings.

    Args:
        inference: `RunFolder.inference()`; cells without counts are missing.
    """
    cells = rows.loc[~rows["cell"].duplicated(), [*Setting._fields, "pair", "arm", "cell"]]
    cells = cells[cells["arm"].isin([claim.arm, claim.reference_arm])]
    if inference is not None:
        cells = cells.merge(inference, on="cell", how="left")
    groups = cells.groupby(list(Setting._fields), observed=True)
    parts = {Setting(*map(str, key)): part for key, part in groups}
    return tuple(
        _evidence(claim, setting, parts.get(setting, cells.iloc[:0]))
        for setting in scope.settings_of(claim)
    )


def _evidence(claim: Claim, setting: Setting, cells: pd.DataFrame) -> Evidence:
    pairs = complete_pairs(cells, claim.arm, claim.reference_arm)
    cells = cells[cells["pair"].isin(pairs)]

    def evidence(outcome: Outcome, sentence: str) -> Evidence:
        fields = {**setting._asdict(), "method": "", "num_seeds": len(pairs)}
        return Evidence(**fields, outcome=outcome, sentence=sentence)

    if not pairs:
        return evidence("not_tested", "no pair is complete; repeat the same `lico-bench run`")
    if "parameters" not in cells or cells[list(COUNTS)].isna().any(axis=None):
        return evidence(
            "not_tested",
            "the run was made before the cost of a forward was counted; a new run counts it",
        )
    outcome, sentence = _compare(claim, cells)
    if setting.source == "standin":
        return evidence("not_tested", f"{STANDIN} ({sentence})")
    if len(pairs) < claim.min_seeds:
        seeds = "one training" if len(pairs) == 1 else f"{len(pairs)} trainings"
        reason = f"{seeds} per arm, the claim asks for {claim.min_seeds}"
        return evidence("inconclusive", f"{reason}; {sentence}")
    return evidence(outcome, sentence)


def _compare(claim: Claim, cells: pd.DataFrame) -> tuple[Outcome, str]:
    """Return supported if no pair has a higher count than the reference, else contradicted."""
    arm = cells[cells["arm"] == claim.arm].set_index("pair").sort_index()
    reference = cells[cells["arm"] == claim.reference_arm].set_index("pair").sort_index()
    needs_more: Any = (arm[list(COUNTS)] > reference[list(COUNTS)]).any(axis=1)
    if needs_more.any():
        pair = needs_more.idxmax()
        counts = f"{_counts_text(arm.loc[pair])} against {_counts_text(reference.loc[pair])}"
        return "contradicted", f"{claim.arm} needs more than {claim.reference_arm}: {counts}"
    if (arm[list(COUNTS)] == reference[list(COUNTS)]).all(axis=None):
        return "supported", f"equal in both arms: {_counts_text(arm.iloc[0])}"
    counts = f"{_counts_text(arm.iloc[0])} against {_counts_text(reference.iloc[0])}"
    return "supported", f"{claim.arm} needs less than {claim.reference_arm}: {counts}"


def _counts_text(cell: Any) -> str:
    # "picture", because published reports contain this sentence.
    return f"{int(cell['parameters']):,} parameters, {cell['gigaflop']:.6g} GFLOP per picture"
