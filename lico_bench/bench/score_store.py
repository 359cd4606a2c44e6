"""Score a model and store the results in parts, so that an interrupted scoring resumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from lico_bench.data import Dataset
from lico_bench.errors import MissingDataError
from lico_bench.evaluation import (
    SINGLE_SHARD,
    EvalConfig,
    Shard,
    Subject,
    ranges_of,
    score_in_parts,
)
from lico_bench.store import SCORE_TABLES, CellFolder, read_parquet


@dataclass(frozen=True)
class StoredScores:
    """Summary of a cell's written tables.

    Attributes:
        accuracy: in [0, 1]; None without labels.
        undefined: metrics without ground truth in the dataset.
    """

    num_rows: int
    accuracy: float | None
    undefined: tuple[str, ...]


def store_scores(
    folder: CellFolder,
    subject: Subject,
    dataset: Dataset,
    eval_config: EvalConfig,
    *,
    scorer: nn.Module | None,
    progress: Callable[[int, int], None],
    without: Sequence[str] = (),
) -> StoredScores:
    """Score one model and write rows, curves and gallery; stored parts are reused.

    Args:
        scorer: network that scores the maps; None means the subject's network.
        without: metrics whose rows are left out of the table.
    """
    store_parts(folder, subject, dataset, eval_config, scorer=scorer, progress=progress)
    return join_scores(folder, dataset, eval_config, without=without)


def store_parts(
    folder: CellFolder,
    subject: Subject,
    dataset: Dataset,
    eval_config: EvalConfig,
    *,
    scorer: nn.Module | None,
    progress: Callable[[int, int], None],
    shard: Shard = SINGLE_SHARD,
) -> None:
    """Compute and store the missing parts of `shard`; each process may take another shard.

    Args:
        scorer: network that scores the maps; None means the subject's network.
    """
    for part in score_in_parts(
        subject, dataset, eval_config,
        scorer=scorer, stored=folder.part_rows, progress=progress, shard=shard,
    ):  # fmt: skip
        folder.write_part(part.name, {n: getattr(part.scores, n) for n in SCORE_TABLES})


def join_scores(
    folder: CellFolder, dataset: Dataset, eval_config: EvalConfig, *, without: Sequence[str] = ()
) -> StoredScores:
    """Join the stored parts into the tables of a cell.

    Args:
        without: metrics whose rows are left out of the table.

    Raises:
        MissingDataError: if a part is missing.
    """
    missing = [
        name for name in ranges_of(dataset, eval_config).names() if not folder.has_part(name)
    ]
    if missing:
        raise MissingDataError(
            f"{folder.parts}: {len(missing)} parts are missing ({missing[0]} is the first); put "
            "the run folder on storage that every process shares, and repeat the same command"
        )
    num_rows = folder.join_parts(without=without)
    rows = read_parquet(folder.table("rows"), ("metric", "value"))
    correct = rows.loc[rows["metric"] == "accuracy", "value"]
    _, undefined = eval_config.defined_for(dataset)
    return StoredScores(num_rows, float(correct.mean()) if len(correct) else None, undefined)
