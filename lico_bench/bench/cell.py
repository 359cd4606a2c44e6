"""One cell from recipe to stored rows: train, explain, score, write; what is found is used."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lico_bench.bench.checkpoints import Checkpoint
from lico_bench.bench.failures import attempt, record_blocked
from lico_bench.bench.inference import inference_cost
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.splits import SplitCache
from lico_bench.bench.stopping import deferred, should_stop
from lico_bench.bench.stored_scores import join_scores, store_parts
from lico_bench.data import Dataset
from lico_bench.evaluation import Question, Shard, Subject
from lico_bench.models import Classifier, build_classifier, dump_weights, load_weights
from lico_bench.runtime import pick_device
from lico_bench.store import CellFolder, RunFolder, seal_cell, write_json, write_parquet
from lico_bench.training import TrainedModel, train
from lico_bench.training.distributed import ALONE, Peers


def run_cell(
    cell: PlannedCell,
    plan: Plan,
    run: RunFolder,
    *,
    splits: SplitCache,
    device: str,
    reporter: Reporter,
    peers: Peers = ALONE,
) -> None:
    """Train and score `cell` and write its folder, or record there why it failed.

    Where another cell's network scores the maps, that one is trained first. What was written
    before a failure stays and is used by the next try.

    Args:
        peers: the processes that share this work; each of the others is in `follow`.
    """
    with_all: dict[str, Any] = {
        "splits": splits, "device": device, "reporter": reporter, "peers": peers,
    }  # fmt: skip
    for trained in filter(None, (plan.scorer_of(cell), cell)):
        train_it = partial(train_cell, trained, plan, run, **with_all)
        has_failed = run.cell(trained.key).failed
        if has_failed or not attempt(trained, run, "training", reporter, train_it):
            if trained is not cell:
                record_blocked(cell, trained, run, reporter)
            return
    attempt(cell, run, "scoring", reporter, partial(score_cell, cell, plan, run, **with_all))


def train_cell(
    cell: PlannedCell,
    plan: Plan,
    run: RunFolder,
    *,
    splits: SplitCache,
    device: str,
    reporter: Reporter,
    peers: Peers = ALONE,
) -> Classifier:
    """The trained classifier of `cell`, stored; one that is stored is read.

    Raises:
        LicoBenchError: if its data are broken or its training diverges.
        Preempted: if the machine wants its place back; the state is stored.
    """
    folder = run.cell(cell.key)
    reporter.stage(cell.title, "training", work=cell.work.train_gigaflop)
    if folder.model.is_file():
        reporter.advance(1, 1)
        return stored_classifier(cell, folder, splits, device)
    write_json(folder.recipe, cell.facts())
    dataset = splits.train(cell)
    if cell.recipe.labels != "full":
        write_json(folder.path / "labelled_images.json", list(dataset.image_ids))
    checkpoint = Checkpoint(folder)
    state = checkpoint.read()
    peers.same(("training", cell.key))
    with deferred():
        peers.attempt(lambda: None)  # the others read the pictures, and may find them broken
        trained = train(
            cell.recipe,
            device=device,
            dataset=dataset,
            state=state,
            keep=checkpoint.write,
            is_due=checkpoint.is_due,
            progress=reporter.advance,
            peers=peers,
        )
        _store_training(cell, folder, trained)
    return trained.classifier


def score_cell(
    cell: PlannedCell,
    plan: Plan,
    run: RunFolder,
    *,
    splits: SplitCache,
    device: str,
    reporter: Reporter,
    peers: Peers = ALONE,
) -> None:
    """Explain and score the stored classifier of `cell` and write its tables; the cell is done.

    Raises:
        LicoBenchError: if its data are broken or its maps not finite; parts stay stored.
    """
    started = time.perf_counter()
    folder = run.cell(cell.key)
    reporter.stage(cell.title, "scoring", work=cell.work.score_gigaflop)
    asked = _asked(cell, plan, run, splits, device)
    peers.same(("scoring", cell.key))
    peers.attempt(lambda: score_shard(asked, Shard(peers.rank, peers.count), reporter.advance))
    scores = join_scores(folder, asked.dataset, plan.question)
    elapsed = time.perf_counter() - started
    seal_cell(
        run,
        cell.key,
        {
            "rows": scores.num_rows,
            "undefined_metrics": list(scores.undefined),
            "inference": inference_cost(asked.subject.model, asked.dataset.image_size),
            "elapsed_s": round(elapsed, 3),
            "device": str(pick_device(device)),
            "processes": peers.count,
        },
    )
    reporter.finish(cell.title, f"accuracy {scores.accuracy:.1%}, scored in {elapsed:.0f} s")


def follow_cell(
    stage: str,
    cell: PlannedCell,
    plan: Plan,
    run: RunFolder,
    *,
    splits: SplitCache,
    device: str,
    peers: Peers,
) -> None:
    """The share of a process that does not lead in a stage of `cell`.

    Raises:
        LicoBenchError: what the leader raises too.
    """
    if stage == "scoring":
        shard = Shard(peers.rank, peers.count)
        peers.attempt(
            lambda: score_shard(_asked(cell, plan, run, splits, device), shard, lambda *_: None)
        )
        return
    with deferred():
        dataset = peers.attempt(lambda: splits.train(cell))
        train(cell.recipe, device=device, dataset=dataset, is_due=should_stop, peers=peers)


@dataclass(frozen=True)
class Asked:
    """What the scores of a cell are made of."""

    folder: CellFolder
    subject: Subject
    dataset: Dataset
    question: Question
    scorer: Classifier | None


def score_shard(asked: Asked, shard: Shard, progress: Callable[[int, int], None]) -> None:
    """Store one share of a cell's parts."""
    store_parts(
        asked.folder, asked.subject, asked.dataset, asked.question,
        scorer=asked.scorer, progress=progress, shard=shard,
    )  # fmt: skip


def _asked(cell: PlannedCell, plan: Plan, run: RunFolder, splits: SplitCache, device: str) -> Asked:
    folder, recipe, other = run.cell(cell.key), cell.recipe, plan.scorer_of(cell)
    subject = Subject(
        stored_classifier(cell, folder, splits, device), recipe.pair_key, cell.key,
        recipe.backbone, recipe.arm, recipe.seed, str(recipe.labels),
    )  # fmt: skip
    scorer = None
    if other is not None:
        scorer = stored_classifier(other, run.cell(other.key), splits, device)
    return Asked(folder, subject, splits.test(cell), plan.question, scorer)


def _store_training(cell: PlannedCell, folder: CellFolder, trained: TrainedModel) -> None:
    write_parquet(folder.table("history"), trained.history.assign(cell=cell.key))
    write_json(folder.path / "findings.json", trained.findings)
    # The weights come last: where they are, the training is whole.
    folder.write_weights(dump_weights(trained.classifier))


def stored_classifier(
    cell: PlannedCell, folder: CellFolder, splits: SplitCache, device: str
) -> Classifier:
    """The classifier of `cell` with its stored weights, in evaluation mode, on `device`."""
    recipe, dataset = cell.recipe, splits.test(cell)
    classifier = build_classifier(
        recipe.backbone,
        num_classes=dataset.num_classes,
        mean=dataset.mean,
        std=dataset.std,
        seed=recipe.seed,
    )
    load_weights(classifier, folder.model)
    classifier.eval().requires_grad_(False)
    if recipe.channels_last:
        classifier = classifier.to(memory_format=torch.channels_last)
    return classifier.to(pick_device(device))
