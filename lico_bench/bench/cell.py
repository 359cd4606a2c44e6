"""One cell from recipe to stored rows: train, explain, score, write; what is found is used."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lico_bench.bench.inference import inference_cost
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.reporter import Reporter
from lico_bench.bench.stored_scores import store_scores
from lico_bench.data import Dataset, load_dataset
from lico_bench.errors import BrokenFileError
from lico_bench.evaluation import Subject
from lico_bench.models import Classifier, build_classifier, dump_weights, load_weights
from lico_bench.runtime import pick_device
from lico_bench.store import (
    CellFolder,
    RunFolder,
    write_bytes,
    write_json,
    write_parquet,
)
from lico_bench.training import train
from lico_bench.training.session import load_training_data

KEPT_DATASETS = 2  # the train and test split that the cells of one dataset share


class SplitCache:
    """The splits loaded last, so that the cells of one dataset read it once."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._kept: dict[tuple[object, ...], Dataset] = {}

    def train(self, cell: PlannedCell) -> Dataset:
        """Training pictures of a cell."""
        recipe = cell.recipe
        drawn = (recipe.labels, recipe.train_limit)
        return self._load(
            ("train", recipe.dataset, recipe.source, recipe.image_size, *drawn),
            lambda: load_training_data(recipe, self._root),
        )

    def test(self, cell: PlannedCell) -> Dataset:
        """Test pictures of a cell."""
        recipe = cell.recipe
        return self._load(
            ("test", recipe.dataset, recipe.source, recipe.image_size),
            lambda: load_dataset(
                recipe.dataset,
                "test",
                root=self._root,
                source=recipe.source,
                image_size=recipe.image_size,
                skip_broken=recipe.skip_broken,
            ),
        )

    def _load(self, key: tuple[object, ...], load: Callable[[], Dataset]) -> Dataset:
        if key not in self._kept:
            while len(self._kept) >= KEPT_DATASETS:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = load()
        return self._kept[key]


def run_cell(
    cell: PlannedCell,
    plan: Plan,
    run: RunFolder,
    *,
    splits: SplitCache,
    device: str,
    reporter: Reporter,
) -> None:
    """Train and score `cell` and write its folder; what is already there is used.

    Where another cell's network scores the maps, that one is trained first.

    Raises:
        LicoBenchError: if its data are broken or its training diverges; what was written before
            stays and is used by the next try.
    """
    started = time.perf_counter()
    folder = run.cell(cell.key)
    write_json(folder.path / "recipe.json", cell.facts())
    other = plan.scorer_of(cell)
    scorer = None
    if other is not None:
        scorer = _trained_classifier(other, run.cell(other.key), splits, device, reporter)
    classifier = _trained_classifier(cell, folder, splits, device, reporter)
    reporter.stage(cell.title, "scoring", work=cell.work.score_gigaflop)
    dataset = splits.test(cell)
    recipe = cell.recipe
    subject = Subject(
        classifier, recipe.pair_key, cell.key, recipe.backbone, recipe.arm, recipe.seed,
        str(recipe.labels),
    )  # fmt: skip
    scores = store_scores(
        folder, subject, dataset, plan.question, scorer=scorer, progress=reporter.advance
    )
    write_json(
        folder.path / "done.json",
        {
            "key": cell.key,
            "rows": scores.num_rows,
            "undefined_metrics": list(scores.undefined),
            "inference": inference_cost(classifier, dataset.image_size),
            "elapsed_s": round(time.perf_counter() - started, 3),
            "device": str(pick_device(device)),
        },
    )
    folder.drop_parts()
    elapsed = time.perf_counter() - started
    reporter.finish(cell.title, f"accuracy {scores.accuracy:.1%}, {elapsed:.0f} s")


def _trained_classifier(
    cell: PlannedCell, folder: CellFolder, splits: SplitCache, device: str, reporter: Reporter
) -> Classifier:
    reporter.stage(cell.title, "training", work=cell.work.train_gigaflop)
    if folder.model.is_file():
        return _stored_classifier(cell, folder, splits, device)
    dataset = splits.train(cell)
    if cell.recipe.labels != "full":
        write_json(folder.path / "labelled_images.json", list(dataset.image_ids))
    trained = train(
        cell.recipe,
        device=device,
        dataset=dataset,
        state=_read_checkpoint(folder.checkpoint),
        keep=lambda state: _write_checkpoint(folder.checkpoint, state),
        progress=reporter.advance,
    )
    write_parquet(folder.table("history"), trained.history.assign(cell=cell.key))
    write_json(folder.path / "findings.json", trained.findings)
    # The weights come last: where they are, the training is whole.
    write_bytes(folder.model, dump_weights(trained.classifier))
    folder.checkpoint.unlink(missing_ok=True)
    return trained.classifier


def _stored_classifier(
    cell: PlannedCell, folder: CellFolder, splits: SplitCache, device: str
) -> Classifier:
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


def _write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    stream = io.BytesIO()
    torch.save(state, stream)
    write_bytes(path, stream.getvalue())


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a torn file
        raise BrokenFileError(
            f"{path}: not a whole checkpoint; delete it to train this cell again"
        ) from error
    return state
