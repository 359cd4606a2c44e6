"""Train, explain and score one cell and write its results; stored results are reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pandas as pd
import torch
from torch import nn

from lico_bench.bench.compute_cost import inference_cost
from lico_bench.bench.interruption import Checkpoint, defer_preemption, should_stop
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.reporter import Reporter, attempt, record_blocked
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
from lico_bench.models import Classifier, build_classifier, dump_weights, load_weights
from lico_bench.runtime import pick_device
from lico_bench.store import (
    SCORE_TABLES,
    CellFolder,
    RunFolder,
    read_parquet,
    seal_cell,
    write_json,
    write_parquet,
)
from lico_bench.store.run_records import CellRecord
from lico_bench.training import TrainedModel, train
from lico_bench.training.distributed import SINGLE_PROCESS, Peers
from lico_bench.training.loop import load_scored_images, load_training_data

HISTORY_COLUMNS = ("cell", "epoch", "quantity", "value")
MAX_SPLITS = 2  # kept in memory: the train and test split of one dataset
# Mean and std of a classifier before its weights are loaded, which hold both.
PLACEHOLDER = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


if TYPE_CHECKING:
    from lico_bench.bench.user_plan import UserCell, UserPlan

# The cells of a run: trained here, or models that the user trained elsewhere.
Cell: TypeAlias = "PlannedCell | UserCell"
RunPlan: TypeAlias = "Plan | UserPlan"


def scoring_cell_of(plan: RunPlan, cell: Cell) -> Cell | None:
    """Return the cell whose network scores the maps of `cell`; None if it is `cell` itself."""
    arm = plan.eval_config.protocol.scorer
    if arm in ("own", cell.arm):
        return None
    return next(c for c in plan.cells if (c.pair, c.arm) == (cell.pair, arm))


class SplitCache:
    """Keeps the most recently loaded splits.

    Args:
        root: folder of the datasets; None uses LICO_BENCH_DATA.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._splits: dict[tuple[object, ...], Dataset] = {}

    def train(self, cell: PlannedCell) -> Dataset:
        """Return the training images of a cell."""
        recipe = cell.recipe
        selection = (recipe.labels, recipe.train_limit, recipe.holdout)
        return self._load(
            ("train", recipe.dataset, recipe.source, recipe.image_size, *selection),
            lambda: load_training_data(recipe, self._root),
        )

    def test(self, cell: PlannedCell) -> Dataset:
        """Return the images on which a cell is scored."""
        recipe = cell.recipe
        return self._load(
            ("test", recipe.dataset, recipe.source, recipe.image_size, recipe.holdout),
            lambda: load_scored_images(recipe, self._root),
        )

    def _load(self, key: tuple[object, ...], load: Callable[[], Dataset]) -> Dataset:
        if key not in self._splits:
            while len(self._splits) >= MAX_SPLITS:
                self._splits.pop(next(iter(self._splits)))
            self._splits[key] = load()
        return self._splits[key]


@dataclass(frozen=True)
class RunContext:
    """Plan, run folder, splits, device and reporter shared by the cells of a run.

    Attributes:
        device: argument of `runtime.pick_device`.
        peers: processes that share each stage; all but the leader run `follow_cell`.
    """

    plan: RunPlan
    run: RunFolder
    splits: SplitCache
    device: str
    reporter: Reporter
    peers: Peers = SINGLE_PROCESS

    def images(self, cell: Cell) -> Dataset:
        """Return the test images of `cell`."""
        if isinstance(cell, PlannedCell):
            return self.splits.test(cell)
        return cell.user_images.dataset

    def network(self, cell: Cell) -> nn.Module:
        """Return the network of `cell` in evaluation mode: the user's, or the stored one."""
        if not isinstance(cell, PlannedCell):
            return cell.model.network
        return load_classifier(
            self.run.cell(cell.key).model,
            cell.backbone,
            num_classes=self.images(cell).num_classes,
            channels_last=cell.recipe.channels_last,
            device=pick_device(self.device),
        )


def run_unfinished(context: RunContext) -> None:
    """Run the unfinished cells of the plan in its order."""
    for cell in context.plan.cells:
        folder = context.run.cell(cell.key)
        if folder.is_done:
            context.reporter.skip(cell.title)
        elif not folder.failed:  # may have failed already, as scorer of another cell
            run_cell(cell, context)


def run_cell(cell: Cell, context: RunContext) -> None:
    """Train one cell and write its results, or record its failure in its folder.

    If another cell's network scores the maps, that cell is trained first. Files written before a
    failure stay and are reused by the next attempt. User models are not trained.
    """
    run, reporter = context.run, context.reporter
    scorer = scoring_cell_of(context.plan, cell)
    for needed in (cell,) if scorer is None else (scorer, cell):
        work = partial(train_cell, needed, context)
        has_failed = run.cell(needed.key).failed
        if has_failed or not attempt(needed, run, "training", reporter, work):
            if needed is not cell:
                record_blocked(cell, needed, run, reporter)
            return
    attempt(cell, run, "scoring", reporter, partial(score_cell, cell, context))


def train_cell(cell: Cell, context: RunContext) -> None:
    """Train `cell` and store its weights; stored weights and user models are kept.

    Raises:
        LicoBenchError: if its data are broken or its training diverges.
        Preempted: at a preemption signal, after the training state is stored.
    """
    if not isinstance(cell, PlannedCell):
        return
    folder, peers = context.run.cell(cell.key), context.peers
    context.reporter.stage(cell.title, "training", work=cell.cost.train_gigaflop)
    if folder.model.is_file():
        context.reporter.advance(1, 1)
        return
    write_json(folder.recipe, cell.entry())
    dataset = context.splits.train(cell)
    if cell.recipe.labels != "full":
        write_json(folder.path / "labelled_images.json", list(dataset.image_ids))
    checkpoint = Checkpoint(folder)
    state = checkpoint.read()
    peers.broadcast(("training", cell.key))
    with defer_preemption():
        peers.run_on_all(lambda: None)  # followers load the images here and may fail
        trained = train(
            cell.recipe,
            device=context.device,
            dataset=dataset,
            state=state,
            keep=checkpoint.write,
            is_due=checkpoint.is_due,
            progress=context.reporter.advance,
            peers=peers,
        )
        _store_training(cell, folder, trained)


def score_cell(cell: Cell, context: RunContext) -> None:
    """Explain and score the network of `cell`, write its tables and mark it done.

    Raises:
        LicoBenchError: if its data are broken or its maps are not finite; stored parts stay.
    """
    started = time.perf_counter()
    reporter, peers = context.reporter, context.peers
    folder, eval_config = context.run.cell(cell.key), context.plan.eval_config
    reporter.stage(cell.title, "scoring", work=cell.cost.score_gigaflop)
    if not isinstance(cell, PlannedCell):  # readers of a run expect the files of a training
        write_json(folder.recipe, cell.entry())
        write_parquet(folder.table("history"), pd.DataFrame(columns=list(HISTORY_COLUMNS)))
    job = EvalJob.of(cell, context)
    peers.broadcast(("scoring", cell.key))
    peers.run_on_all(lambda: _store_share(job, cell, context))
    scores = join_parts(folder, job.dataset, eval_config, without=job.without)
    elapsed = time.perf_counter() - started
    inference = None
    if isinstance(cell, PlannedCell):  # torch cannot count the operations of every user model
        inference = inference_cost(job.subject.model, job.dataset.image_size)
    record = CellRecord(
        rows=scores.num_rows,
        undefined_metrics=scores.undefined,
        inference=inference,
        elapsed_s=round(elapsed, 3),
        device=str(pick_device(context.device)),
        processes=peers.count,
    )
    seal_cell(context.run, cell.key, record)
    accuracy = "unknown" if scores.accuracy is None else f"{scores.accuracy:.1%}"
    reporter.finish(cell.title, f"accuracy {accuracy}, scored in {elapsed:.0f} s")


def follow_cell(stage: str, cell: Cell, context: RunContext) -> None:
    """Compute a follower process's share of one stage of `cell`.

    Raises:
        LicoBenchError: the same error as in the leader.
    """
    peers = context.peers
    if stage == "scoring":
        peers.run_on_all(lambda: _store_share(EvalJob.of(cell, context), cell, context))
    elif isinstance(cell, PlannedCell):
        with defer_preemption():
            dataset = peers.run_on_all(partial(context.splits.train, cell))
            train(
                cell.recipe, device=context.device, dataset=dataset, is_due=should_stop, peers=peers
            )


@dataclass(frozen=True)
class EvalJob:
    """Inputs of one cell's scoring.

    Attributes:
        scorer: network that scores the maps; None means the subject's network.
        without: metrics whose rows are left out of the table, since they need labels.
    """

    subject: Subject
    dataset: Dataset
    scorer: nn.Module | None
    without: tuple[str, ...] = ()

    @classmethod
    def of(cls, cell: Cell, context: RunContext) -> EvalJob:
        """Load the networks and images to score `cell`."""
        scoring_cell = scoring_cell_of(context.plan, cell)
        recipe = cell.entry().recipe
        return cls(
            subject=Subject(
                context.network(cell),
                cell.pair,
                cell.key,
                backbone=cell.backbone,
                arm=cell.arm,
                seed=recipe.seed,
                labels=str(recipe.labels or "full"),
            ),
            dataset=context.images(cell),
            scorer=None if scoring_cell is None else context.network(scoring_cell),
            without=() if isinstance(cell, PlannedCell) else cell.without,
        )


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


def store_parts(
    folder: CellFolder,
    job: EvalJob,
    eval_config: EvalConfig,
    *,
    progress: Callable[[int, int], None],
    shard: Shard = SINGLE_SHARD,
) -> None:
    """Compute and store the missing parts of `shard`, so that an interrupted scoring resumes."""
    for part in score_in_parts(
        job.subject, job.dataset, eval_config,
        scorer=job.scorer, stored=folder.part_rows, progress=progress, shard=shard,
    ):  # fmt: skip
        folder.write_part(part.name, {n: getattr(part.scores, n) for n in SCORE_TABLES})


def join_parts(
    folder: CellFolder, dataset: Dataset, eval_config: EvalConfig, *, without: Sequence[str] = ()
) -> StoredScores:
    """Join the stored parts into the tables of a cell.

    Args:
        without: metrics whose rows are left out of the table.

    Raises:
        MissingDataError: if a part is missing.
    """
    names = ranges_of(dataset, eval_config).names()
    missing = [name for name in names if not folder.has_part(name)]
    if missing:
        raise MissingDataError(
            f"{folder.parts}: {len(missing)} parts are missing ({missing[0]} is the first); put "
            "the run folder on storage that every process shares, and repeat the same command"
        )
    num_rows = folder.merge_parts(without=without)
    rows = read_parquet(folder.table("rows"), ("metric", "value"))
    correct = rows.loc[rows["metric"] == "accuracy", "value"]
    _, undefined = eval_config.defined_for(dataset)
    return StoredScores(num_rows, float(correct.mean()) if len(correct) else None, undefined)


def _store_share(job: EvalJob, cell: Cell, context: RunContext) -> None:
    """Score and store this process's share of a cell."""
    store_parts(
        context.run.cell(cell.key),
        job,
        context.plan.eval_config,
        progress=context.reporter.advance,
        shard=Shard(context.peers.rank, context.peers.count),
    )


def _store_training(cell: PlannedCell, folder: CellFolder, trained: TrainedModel) -> None:
    write_parquet(folder.table("history"), trained.history.assign(cell=cell.key))
    write_json(folder.path / "findings.json", trained.findings)
    # Weights are written last: their presence marks a complete training.
    folder.write_weights(dump_weights(trained.classifier))


def load_classifier(
    weights: Path, backbone: str, *, num_classes: int, channels_last: bool, device: torch.device
) -> Classifier:
    """Return the classifier of stored weights in evaluation mode.

    Args:
        channels_last: memory format, as in the recipe; the last bits of scores depend on it.

    Raises:
        BrokenFileError: if the file is damaged or belongs to another model.
    """
    classifier = build_classifier(backbone, num_classes=num_classes, seed=0, **PLACEHOLDER)
    if channels_last:
        classifier = classifier.to(memory_format=torch.channels_last)
    load_weights(classifier, weights)
    return classifier.eval().requires_grad_(False).to(device)
