"""Train, explain and score one cell and write its results; stored results are reused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lico_bench.bench.checkpoints import Checkpoint
from lico_bench.bench.failures import attempt, record_blocked
from lico_bench.bench.inference import inference_cost
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.preemption import defer_preemption, should_stop
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.score_store import join_scores, store_parts
from lico_bench.bench.split_cache import SplitCache
from lico_bench.data import Dataset
from lico_bench.evaluation import EvalConfig, Shard, Subject
from lico_bench.models import Classifier, dump_weights, load_weights
from lico_bench.runtime import pick_device
from lico_bench.store import CellFolder, RunFolder, seal_cell, write_json, write_parquet
from lico_bench.store.run_records import CellRecord
from lico_bench.training import TrainedModel, train
from lico_bench.training.distributed import SINGLE_PROCESS, Peers
from lico_bench.training.preparation import fresh_classifier


@dataclass(frozen=True)
class RunContext:
    """Plan, run folder, splits, device and reporter shared by the cells of a run.

    Attributes:
        device: argument of `runtime.pick_device`.
        peers: processes that share each stage; all but the leader run `follow_cell`.
    """

    plan: Plan
    run: RunFolder
    splits: SplitCache
    device: str
    reporter: Reporter
    peers: Peers = SINGLE_PROCESS


def run_unfinished(context: RunContext) -> None:
    """Run the unfinished cells of the plan in its order."""
    for cell in context.plan.cells:
        folder = context.run.cell(cell.key)
        if folder.is_done:
            context.reporter.skip(cell.title)
        elif not folder.failed:  # may have failed already, as scorer of another cell
            run_cell(cell, context)


def run_cell(cell: PlannedCell, context: RunContext) -> None:
    """Train one cell and write its results, or record its failure in its folder.

    If another cell's network scores the maps, that cell is trained first. Files written before a
    failure stay and are reused by the next attempt.
    """
    run, reporter = context.run, context.reporter
    for needed in filter(None, (context.plan.scorer_of(cell), cell)):
        work = partial(train_cell, needed, context)
        has_failed = run.cell(needed.key).failed
        if has_failed or not attempt(needed, run, "training", reporter, work):
            if needed is not cell:
                record_blocked(cell, needed, run, reporter)
            return
    attempt(cell, run, "scoring", reporter, partial(score_cell, cell, context))


def train_cell(cell: PlannedCell, context: RunContext) -> Classifier:
    """Train `cell`, store its weights and return its classifier; stored weights are loaded.

    Raises:
        LicoBenchError: if its data are broken or its training diverges.
        Preempted: at a preemption signal, after the training state is stored.
    """
    folder, peers = context.run.cell(cell.key), context.peers
    context.reporter.stage(cell.title, "training", work=cell.work.train_gigaflop)
    if folder.model.is_file():
        context.reporter.advance(1, 1)
        return stored_classifier(cell, folder, context.splits, context.device)
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
    return trained.classifier


def score_cell(cell: PlannedCell, context: RunContext) -> None:
    """Explain and score the stored classifier of `cell`, write its tables and mark it done.

    Raises:
        LicoBenchError: if its data are broken or its maps are not finite; stored parts stay.
    """
    started = time.perf_counter()
    reporter, peers = context.reporter, context.peers
    reporter.stage(cell.title, "scoring", work=cell.work.score_gigaflop)
    job = eval_job(cell, context.plan, context.run, context.splits, context.device)
    peers.broadcast(("scoring", cell.key))
    peers.run_on_all(lambda: score_shard(job, Shard(peers.rank, peers.count), reporter.advance))
    scores = join_scores(job.folder, job.dataset, context.plan.eval_config)
    elapsed = time.perf_counter() - started
    seal_cell(
        context.run,
        cell.key,
        CellRecord(
            rows=scores.num_rows,
            undefined_metrics=scores.undefined,
            inference=inference_cost(job.subject.model, job.dataset.image_size),
            elapsed_s=round(elapsed, 3),
            device=str(pick_device(context.device)),
            processes=peers.count,
        ),
    )
    reporter.finish(cell.title, f"accuracy {scores.accuracy:.1%}, scored in {elapsed:.0f} s")


def follow_cell(stage: str, cell: PlannedCell, context: RunContext) -> None:
    """Compute a follower process's share of one stage of `cell`.

    Raises:
        LicoBenchError: the same error as in the leader.
    """
    peers, device = context.peers, context.device
    if stage == "scoring":
        shard = Shard(peers.rank, peers.count)
        job = partial(eval_job, cell, context.plan, context.run, context.splits, device)
        peers.run_on_all(lambda: score_shard(job(), shard, context.reporter.advance))
        return
    with defer_preemption():
        dataset = peers.run_on_all(lambda: context.splits.train(cell))
        train(cell.recipe, device=device, dataset=dataset, is_due=should_stop, peers=peers)


@dataclass(frozen=True)
class EvalJob:
    """Inputs of one cell's scoring."""

    folder: CellFolder
    subject: Subject
    dataset: Dataset
    eval_config: EvalConfig
    scorer: Classifier | None


def score_shard(job: EvalJob, shard: Shard, progress: Callable[[int, int], None]) -> None:
    """Score one shard of a cell and store its parts."""
    store_parts(
        job.folder, job.subject, job.dataset, job.eval_config,
        scorer=job.scorer, progress=progress, shard=shard,
    )  # fmt: skip


def eval_job(
    cell: PlannedCell, plan: Plan, run: RunFolder, splits: SplitCache, device: str
) -> EvalJob:
    """Return the inputs to score the stored network of `cell`."""
    folder, recipe, scoring_cell = run.cell(cell.key), cell.recipe, plan.scorer_of(cell)
    subject = Subject(
        stored_classifier(cell, folder, splits, device), recipe.pair_key, cell.key,
        recipe.backbone, recipe.arm, recipe.seed, str(recipe.labels),
    )  # fmt: skip
    scorer = None
    if scoring_cell is not None:
        scorer = stored_classifier(scoring_cell, run.cell(scoring_cell.key), splits, device)
    return EvalJob(folder, subject, splits.test(cell), plan.eval_config, scorer)


def _store_training(cell: PlannedCell, folder: CellFolder, trained: TrainedModel) -> None:
    write_parquet(folder.table("history"), trained.history.assign(cell=cell.key))
    write_json(folder.path / "findings.json", trained.findings)
    # Weights are written last: their presence marks a complete training.
    folder.write_weights(dump_weights(trained.classifier))


def stored_classifier(
    cell: PlannedCell, folder: CellFolder, splits: SplitCache, device: str
) -> Classifier:
    """Load the classifier of `cell` in evaluation mode on `device`."""
    classifier = fresh_classifier(cell.recipe, splits.test(cell))
    load_weights(classifier, folder.model)
    classifier.eval().requires_grad_(False)
    return classifier.to(pick_device(device))
