"""Claims on inference cost: equal, higher, lower or missing counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from lico_bench.claims.records import INFERENCE_COST
from lico_bench.store import RunFolder, write_json, write_parquet
from tests.claims.claimed_rows import MODEL, rows_with, verdict_on
from tests.manifests import manifest_from

CLAIM = replace(MODEL, metric=INFERENCE_COST, smallest_effect=1.0, min_seeds=2)


def model_rows(**facts) -> pd.DataFrame:
    given = {"metric": "accuracy", "method": "", "images": 2, "seeds": 2} | facts
    return rows_with({"baseline": 0.0, "lico": 0.0}, **given)


def counted(rows: pd.DataFrame, parameters: int = 0, gigaflop: float = 0.0) -> pd.DataFrame:
    """Return the counts of each cell; the arguments are added for lico."""
    cells = rows[["cell", "arm"]].drop_duplicates()
    extra = (cells["arm"] == "lico").astype(int)
    return pd.DataFrame(
        {
            "cell": cells["cell"],
            "parameters": 1000 + parameters * extra,
            "gigaflop": 0.25 + gigaflop * extra,
        }
    )


@pytest.mark.parametrize(
    ("more", "outcome", "message"),
    [
        ({}, "supported", "equal in both arms: 1,000 parameters, 0.25 GFLOP per picture"),
        ({"parameters": 1}, "contradicted", "needs more than baseline: 1,001 parameters"),
        ({"gigaflop": 1e-9}, "contradicted", "needs more than baseline"),
        ({"parameters": -1}, "supported", "needs less than baseline: 999 parameters"),
        ({"parameters": -1, "gigaflop": 0.1}, "contradicted", "0.35 GFLOP"),
    ],
)
def test_counts_are_equal_or_they_are_not(more, outcome, message):
    rows = model_rows()
    verdict = verdict_on(CLAIM, rows, inference=counted(rows, **more))
    assert verdict.outcome == outcome
    assert message in verdict.evidence[0].sentence


def test_stand_ins_one_training_and_old_runs_decide_nothing():
    drawn = model_rows(source="standin")
    verdict = verdict_on(CLAIM, drawn, inference=counted(drawn))
    assert verdict.outcome == "not_tested"
    assert "equal in both arms" in verdict.evidence[0].sentence
    alone = model_rows(seeds=1)
    verdict = verdict_on(CLAIM, alone, inference=counted(alone))
    assert verdict.outcome == "inconclusive"
    assert "one training per arm, the claim asks for 2" in verdict.evidence[0].sentence
    old = model_rows()
    for inference in (None, counted(old).iloc[:0], counted(old).iloc[:1]):
        verdict = verdict_on(CLAIM, old, inference=inference)
        assert verdict.outcome == "not_tested"
        assert "before the cost of a forward was counted" in verdict.sentence


def test_a_run_folder_gives_the_counts_of_the_cells_that_have_them():
    run = RunFolder(Path("run"))
    recipe = {"dataset": "d", "arm": "a", "seed": 0}
    cells = [{"key": key, "recipe": recipe} for key in ("old", "new")]
    run.open_for(manifest_from({"cells": cells}))
    cost = {"parameters": 7, "gigaflop": 0.5}
    for key, facts in (("old", {}), ("new", {"inference": cost})):
        write_parquet(run.cell(key).table("rows"), pd.DataFrame())
        write_json(run.cell(key).path / "done.json", {"key": key, **facts})
    assert run.inference().to_dict("records") == [{"cell": "new", **cost}]
