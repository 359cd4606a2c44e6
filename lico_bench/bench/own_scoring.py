"""Score a user's own models on their own pictures into a run folder."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from lico_bench.bench.own_suite import OwnSuite
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.stored_scores import store_scores
from lico_bench.evaluation import Subject
from lico_bench.store import RunFolder, sweep_leftovers, write_json, write_parquet

NEEDS_LABELS = ("accuracy", "brier")
HISTORY_COLUMNS = ("cell", "epoch", "quantity", "value")


def score_own(suite: OwnSuite, out: Path, *, reporter: Reporter) -> RunFolder:
    """Score every model of `suite` into the folder `out`; one that is stored there is kept.

    Raises:
        RunMismatchError: if `out` holds another suite or something else.
        InvalidInputError: for maps that are not finite.
    """
    run = RunFolder(out)
    run.open_for(suite.manifest())
    sweep_leftovers(run.path)
    missing = [arm for arm in suite.models if not run.cell(suite.cell(arm)).is_done]
    reporter.begin(cells=len(suite.models), work=len(missing))
    try:
        for arm in suite.models:
            if arm in missing:
                _score_cell(suite, arm, run, reporter)
            else:
                reporter.skip(_title(suite, arm))
    finally:
        reporter.end()
    return run


def _score_cell(suite: OwnSuite, arm: str, run: RunFolder, reporter: Reporter) -> None:
    started = time.perf_counter()
    cell = suite.cell(arm)
    folder = run.cell(cell)
    reporter.stage(_title(suite, arm), "scoring", work=1)
    write_json(folder.path / "recipe.json", suite.cell_facts(arm))
    subject = Subject(
        suite.models[arm].network, suite.pair, cell, suite.backbone, arm, seed=0, labels="full"
    )
    scorer = suite.models.get(suite.question.protocol.scorer)
    scores = store_scores(
        folder,
        subject,
        suite.pictures.dataset,
        suite.question,
        scorer=None if scorer is None else scorer.network,
        progress=reporter.advance,
        without=() if suite.pictures.is_labelled else NEEDS_LABELS,
    )
    # Nothing was trained here; readers of a run expect the table.
    write_parquet(folder.table("history"), pd.DataFrame(columns=list(HISTORY_COLUMNS)))
    elapsed = time.perf_counter() - started
    write_json(
        folder.path / "done.json",
        {
            "key": cell,
            "rows": scores.num_rows,
            "undefined_metrics": list(scores.undefined),
            "elapsed_s": round(elapsed, 3),
        },
    )
    folder.drop_parts()
    known = scores.accuracy is not None
    told = f"accuracy {scores.accuracy:.1%}" if known else "accuracy not known"
    reporter.finish(_title(suite, arm), f"{told}, {elapsed:.0f} s")


def _title(suite: OwnSuite, arm: str) -> str:
    return f"{suite.pictures.dataset.name} {arm}"
