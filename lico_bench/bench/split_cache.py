"""The splits that cells train on and are scored on, read once for the cells that share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lico_bench.bench.plan import PlannedCell
from lico_bench.data import Dataset, load_dataset
from lico_bench.training.preparation import load_training_data

KEPT_DATASETS = 2  # the train and test split that the cells of one dataset share


class SplitCache:
    """The splits loaded last, so that the cells of one dataset read it once."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._kept: dict[tuple[object, ...], Dataset] = {}

    def train(self, cell: PlannedCell) -> Dataset:
        """Training images of a cell."""
        recipe = cell.recipe
        drawn = (recipe.labels, recipe.train_limit)
        return self._load(
            ("train", recipe.dataset, recipe.source, recipe.image_size, *drawn),
            lambda: load_training_data(recipe, self._root),
        )

    def test(self, cell: PlannedCell) -> Dataset:
        """Test images of a cell."""
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
