"""Score user models on user images and write a run folder."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lico_bench.bench.failures import attempt
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.runner import open_run
from lico_bench.bench.score_store import store_scores
from lico_bench.bench.user_suite import UserSuite
from lico_bench.evaluation import Subject
from lico_bench.store import RunFolder, seal_cell, write_json, write_parquet
from lico_bench.store.run_records import CellRecord

NEEDS_LABELS = ("accuracy", "brier")
HISTORY_COLUMNS = ("cell", "epoch", "quantity", "value")


class UserCell(NamedTuple):
    """A user model as a cell, with the key of its folder and a display name."""

    key: str
    title: str


def score_user_models(
    suite: UserSuite, out: Path, *, wait: bool = False, reporter: Reporter
) -> RunFolder:
    """Score every model of `suite` and write its results to `out`; stored results are kept.

    A failed model is recorded in `RunFolder.failures`; the next call scores it again.

    Args:
        wait: wait for a process that holds the folder's lock instead of raising.

    Raises:
        RunMismatchError: if `out` holds another suite or other files.
        RunBusyError: if another process holds the lock.
        DiskFullError: if the disk is full.
        Preempted: at a preemption signal (SIGTERM); finished parts are stored.
    """
    cells = {arm: UserCell(suite.cell(arm), _title(suite, arm)) for arm in suite.models}
    keys = [cell.key for cell in cells.values()]
    with open_run(out, suite.manifest(), keys, wait=wait, reporter=reporter) as run:
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
    write_json(folder.recipe, suite.cell_entry(arm))
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
    # Empty, since nothing was trained; readers of a run expect the table.
    write_parquet(folder.table("history"), pd.DataFrame(columns=list(HISTORY_COLUMNS)))
    elapsed = time.perf_counter() - started
    record = CellRecord(
        rows=scores.num_rows, undefined_metrics=scores.undefined, elapsed_s=round(elapsed, 3)
    )
    seal_cell(run, cell.key, record)
    is_known = scores.accuracy is not None
    accuracy = f"accuracy {scores.accuracy:.1%}" if is_known else "accuracy unknown"
    reporter.finish(cell.title, f"{accuracy}, {elapsed:.0f} s")


def _title(suite: UserSuite, arm: str) -> str:
    return f"{suite.user_images.dataset.name} {arm}"
