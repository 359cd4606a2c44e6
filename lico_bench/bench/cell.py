"""One cell from recipe to stored rows: train, explain, score, write; what is found is used."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lico_bench.bench.checkpoints import Checkpoint
from lico_bench.bench.failures import attempt, record_blocked
from lico_bench.bench.inference import inference_cost
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.preemption import deferred, should_stop
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.score_store import join_scores, store_parts
from lico_bench.bench.split_cache import SplitCache
from lico_bench.data import Dataset
from lico_bench.evaluation import EvalConfig, Shard, Subject
from lico_bench.models import Classifier, dump_weights, load_weights
from lico_bench.runtime import pick_device
from lico_bench.store import CellFolder, RunFolder, seal_cell, write_json, write_parquet
from lico_bench.training import TrainedModel, train
from lico_bench.training.distributed import ALONE, Peers
from lico_bench.training.preparation import fresh_classifier


@dataclass(frozen=True)
class RunContext:
    """Where cells are worked at, and with what.

    Attributes:
        device: as `runtime.pick_device` takes it.
        peers: the processes that share each stage; those that do not lead are in `follow_cell`.
    """

    plan: Plan
    run: RunFolder
    splits: SplitCache
    device: str
    reporter: Reporter
    peers: Peers = ALONE


def run_cell(cell: PlannedCell, place: RunContext) -> None:
    """Train and score `cell` and write its folder, or record there why it failed.

    Where another cell's network scores the maps, that one is trained first. What was written
    before a failure stays and is used by the next try.
    """
    run, reporter = place.run, place.reporter
    for trained in filter(None, (place.plan.scorer_of(cell), cell)):
        train_it = partial(train_cell, trained, place)
        has_failed = run.cell(trained.key).failed
        if has_failed or not attempt(trained, run, "training", reporter, train_it):
            if trained is not cell:
                record_blocked(cell, trained, run, reporter)
            return
    attempt(cell, run, "scoring", reporter, partial(score_cell, cell, place))


def train_cell(cell: PlannedCell, place: RunContext) -> Classifier:
    """The trained classifier of `cell`, stored; one that is stored is read.

    Raises:
        LicoBenchError: if its data are broken or its training diverges.
        Preempted: if the machine wants its place back; the state is stored.
    """
    folder, peers = place.run.cell(cell.key), place.peers
    place.reporter.stage(cell.title, "training", work=cell.work.train_gigaflop)
    if folder.model.is_file():
        place.reporter.advance(1, 1)
        return stored_classifier(cell, folder, place.splits, place.device)
    write_json(folder.recipe, cell.facts())
    dataset = place.splits.train(cell)
    if cell.recipe.labels != "full":
        write_json(folder.path / "labelled_images.json", list(dataset.image_ids))
    checkpoint = Checkpoint(folder)
    state = checkpoint.read()
    peers.same(("training", cell.key))
    with deferred():
        peers.attempt(lambda: None)  # the others read the images, and may find them broken
        trained = train(
            cell.recipe,
            device=place.device,
            dataset=dataset,
            state=state,
            keep=checkpoint.write,
            is_due=checkpoint.is_due,
            progress=place.reporter.advance,
            peers=peers,
        )
        _store_training(cell, folder, trained)
    return trained.classifier


def score_cell(cell: PlannedCell, place: RunContext) -> None:
    """Explain and score the stored classifier of `cell` and write its tables; the cell is done.

    Raises:
        LicoBenchError: if its data are broken or its maps not finite; parts stay stored.
    """
    started = time.perf_counter()
    reporter, peers = place.reporter, place.peers
    reporter.stage(cell.title, "scoring", work=cell.work.score_gigaflop)
    requested = eval_job(cell, place.plan, place.run, place.splits, place.device)
    peers.same(("scoring", cell.key))
    peers.attempt(lambda: score_shard(requested, Shard(peers.rank, peers.count), reporter.advance))
    scores = join_scores(requested.folder, requested.dataset, place.plan.eval_config)
    elapsed = time.perf_counter() - started
    seal_cell(
        place.run,
        cell.key,
        {
            "rows": scores.num_rows,
            "undefined_metrics": list(scores.undefined),
            "inference": inference_cost(requested.subject.model, requested.dataset.image_size),
            "elapsed_s": round(elapsed, 3),
            "device": str(pick_device(place.device)),
            "processes": peers.count,
        },
    )
    reporter.finish(cell.title, f"accuracy {scores.accuracy:.1%}, scored in {elapsed:.0f} s")


def follow_cell(stage: str, cell: PlannedCell, place: RunContext) -> None:
    """The share of a process that does not lead in a stage of `cell`.

    Raises:
        LicoBenchError: what the leader raises too.
    """
    peers, device = place.peers, place.device
    if stage == "scoring":
        shard = Shard(peers.rank, peers.count)
        requested = partial(eval_job, cell, place.plan, place.run, place.splits, device)
        peers.attempt(lambda: score_shard(requested(), shard, place.reporter.advance))
        return
    with deferred():
        dataset = peers.attempt(lambda: place.splits.train(cell))
        train(cell.recipe, device=device, dataset=dataset, is_due=should_stop, peers=peers)


@dataclass(frozen=True)
class EvalJob:
    """What the scores of a cell are made of."""

    folder: CellFolder
    subject: Subject
    dataset: Dataset
    eval_config: EvalConfig
    scorer: Classifier | None


def score_shard(requested: EvalJob, shard: Shard, progress: Callable[[int, int], None]) -> None:
    """Store one share of a cell's parts."""
    store_parts(
        requested.folder, requested.subject, requested.dataset, requested.eval_config,
        scorer=requested.scorer, progress=progress, shard=shard,
    )  # fmt: skip


def eval_job(
    cell: PlannedCell, plan: Plan, run: RunFolder, splits: SplitCache, device: str
) -> EvalJob:
    """The stored network of `cell` and what the plan asks of it."""
    folder, recipe, other = run.cell(cell.key), cell.recipe, plan.scorer_of(cell)
    subject = Subject(
        stored_classifier(cell, folder, splits, device), recipe.pair_key, cell.key,
        recipe.backbone, recipe.arm, recipe.seed, str(recipe.labels),
    )  # fmt: skip
    scorer = None
    if other is not None:
        scorer = stored_classifier(other, run.cell(other.key), splits, device)
    return EvalJob(folder, subject, splits.test(cell), plan.eval_config, scorer)


def _store_training(cell: PlannedCell, folder: CellFolder, trained: TrainedModel) -> None:
    write_parquet(folder.table("history"), trained.history.assign(cell=cell.key))
    write_json(folder.path / "findings.json", trained.findings)
    # The weights come last: where they are, the training is whole.
    folder.write_weights(dump_weights(trained.classifier))


def stored_classifier(
    cell: PlannedCell, folder: CellFolder, splits: SplitCache, device: str
) -> Classifier:
    """The classifier of `cell` with its stored weights, in evaluation mode, on `device`."""
    classifier = fresh_classifier(cell.recipe, splits.test(cell))
    load_weights(classifier, folder.model)
    classifier.eval().requires_grad_(False)
    return classifier.to(pick_device(device))
