"""Cache of train and test splits, loaded once for the cells that share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lico_bench.bench.plan import PlannedCell
from lico_bench.data import Dataset
from lico_bench.training.loop import load_scored_images, load_training_data

MAX_SPLITS = 2  # the train and test split of one dataset


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
