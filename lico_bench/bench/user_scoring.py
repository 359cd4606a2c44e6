"""Score a user's own models on their own images into a run folder."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lico_bench.bench.failures import attempt
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.runner import opened
from lico_bench.bench.score_store import store_scores
from lico_bench.bench.user_suite import UserSuite
from lico_bench.evaluation import Subject
from lico_bench.store import RunFolder, seal_cell, write_json, write_parquet

NEEDS_LABELS = ("accuracy", "brier")
HISTORY_COLUMNS = ("cell", "epoch", "quantity", "value")


class UserCell(NamedTuple):
    """A model of the suite as a cell: the name of its folder, and one for people."""

    key: str
    title: str


def score_user_models(
    suite: UserSuite, out: Path, *, wait: bool = False, reporter: Reporter
) -> RunFolder:
    """Score every model of `suite` into the folder `out`; one that is stored there is kept.

    A model that fails is recorded, see `RunFolder.failures`; another call tries it again.

    Args:
        wait: for another process that is at work on the folder, instead of raising.

    Raises:
        RunMismatchError: if `out` holds another suite or something else.
        RunBusyError: if another process is at work on it.
        DiskFullError: if there is no room for what is to be written.
        Preempted: at a notice (SIGTERM); the parts that are finished are stored.
    """
    cells = {arm: UserCell(suite.cell(arm), _title(suite, arm)) for arm in suite.models}
    keys = [cell.key for cell in cells.values()]
    with opened(out, suite.manifest(), keys, wait=wait, reporter=reporter) as run:
        missing = [arm for arm in suite.models if not run.cell(cells[arm].key).is_done]
        reporter.begin(cells=len(suite.models), work=len(missing))
        try:
            for arm, cell in cells.items():
                if arm in missing:
                    work = partial(_score_cell, suite, arm, cell, run, reporter)
                    attempt(cell, run, "scoring", reporter, work)
                else:
                    reporter.skip(cell.title)
        finally:
            reporter.end()
    return run


def _score_cell(
    suite: UserSuite, arm: str, cell: UserCell, run: RunFolder, reporter: Reporter
) -> None:
    started = time.perf_counter()
    folder = run.cell(cell.key)
    reporter.stage(cell.title, "scoring", work=1)
    write_json(folder.recipe, suite.cell_facts(arm))
    subject = Subject(
        suite.models[arm].network, suite.pair, cell.key, suite.backbone, arm, seed=0, labels="full"
    )
    scorer = suite.models.get(suite.eval_config.protocol.scorer)
    scores = store_scores(
        folder,
        subject,
        suite.user_images.dataset,
        suite.eval_config,
        scorer=None if scorer is None else scorer.network,
        progress=reporter.advance,
        without=() if suite.user_images.is_labelled else NEEDS_LABELS,
    )
    # Nothing was trained here; readers of a run expect the table.
    write_parquet(folder.table("history"), pd.DataFrame(columns=list(HISTORY_COLUMNS)))
    elapsed = time.perf_counter() - started
    facts = {
        "rows": scores.num_rows,
        "undefined_metrics": list(scores.undefined),
        "elapsed_s": round(elapsed, 3),
    }
    seal_cell(run, cell.key, facts)
    known = scores.accuracy is not None
    message = f"accuracy {scores.accuracy:.1%}" if known else "accuracy not known"
    reporter.finish(cell.title, f"{message}, {elapsed:.0f} s")


def _title(suite: UserSuite, arm: str) -> str:
    return f"{suite.user_images.dataset.name} {arm}"
