"""Ask a model and store its answers part by part, so that an interrupted scoring goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from lico_bench.data import Dataset
from lico_bench.errors import MissingDataError
from lico_bench.evaluation import WHOLE, EvalConfig, Shard, Subject, ranges_of, score_in_parts
from lico_bench.store import SCORE_TABLES, CellFolder, read_parquet


@dataclass(frozen=True)
class StoredScores:
    """What is told of a cell when its tables are written.

    Attributes:
        accuracy: None where no label is known.
        undefined: metrics that the dataset has no ground truth for.
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
    """Write rows, curves and gallery of one model; parts that are stored are not made again.

    Args:
        scorer: the network that scores the maps; the subject's own if None.
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
    shard: Shard = WHOLE,
) -> None:
    """Store those parts of `shard` that are not stored yet; several processes may share them out.

    Args:
        scorer: the network that scores the maps; the subject's own if None.
    """
    for part in score_in_parts(
        subject, dataset, eval_config,
        scorer=scorer, stored=folder.part_rows, progress=progress, shard=shard,
    ):  # fmt: skip
        folder.write_part(part.name, {n: getattr(part.scores, n) for n in SCORE_TABLES})


def join_scores(
    folder: CellFolder, dataset: Dataset, eval_config: EvalConfig, *, without: Sequence[str] = ()
) -> StoredScores:
    """Make the tables of the stored parts.

    Args:
        without: metrics whose rows are left out of the table.

    Raises:
        MissingDataError: if a part is not there.
    """
    missing = [
        name for name in ranges_of(dataset, eval_config).names() if not folder.has_part(name)
    ]
    if missing:
        raise MissingDataError(
            f"{folder.parts}: {len(missing)} parts are missing ({missing[0]} is the first); put "
            "the run folder where every process sees it, and repeat the same command"
        )
    num_rows = folder.join_parts(without=without)
    rows = read_parquet(folder.table("rows"), ("metric", "value"))
    right = rows.loc[rows["metric"] == "accuracy", "value"]
    _, undefined = eval_config.defined_for(dataset)
    return StoredScores(num_rows, float(right.mean()) if len(right) else None, undefined)
