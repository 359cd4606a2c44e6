"""Ask a model and store its answers part by part, so that an interrupted scoring goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from lico_bench.data import Dataset
from lico_bench.evaluation import Question, Subject, score_in_parts
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
    question: Question,
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
    for part in score_in_parts(
        subject, dataset, question, scorer=scorer, stored=folder.part_rows, progress=progress
    ):
        folder.write_part(part.name, {n: getattr(part.scores, n) for n in SCORE_TABLES})
    num_rows = folder.join_parts(without=without)
    rows = read_parquet(folder.table("rows"), ("metric", "value"))
    right = rows.loc[rows["metric"] == "accuracy", "value"]
    _, undefined = question.defined_for(dataset)
    return StoredScores(num_rows, float(right.mean()) if len(right) else None, undefined)
