"""lico-bench: paired training and paired saliency scoring of explainability methods.

Modules are imported when one of their names is first used; importing the package imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lico_bench import losses, metrics
    from lico_bench.data import Dataset, load_dataset, load_images
    from lico_bench.evaluation import Scores, evaluate
    from lico_bench.gate import Verdict, check
    from lico_bench.records import Recipe
    from lico_bench.saliency import explain
    from lico_bench.stats import paired_differences
    from lico_bench.training import TrainedModel, train

__version__ = "0.2.0"

_MODULE_OF = {
    "Dataset": "data",
    "Recipe": "records",
    "Scores": "evaluation",
    "TrainedModel": "training",
    "Verdict": "gate",
    "check": "gate",
    "evaluate": "evaluation",
    "explain": "saliency",
    "load_dataset": "data",
    "load_images": "data",
    "paired_differences": "stats",
    "train": "training",
}
_PACKAGES = ("losses", "metrics")

__all__ = [
    "Dataset",
    "Recipe",
    "Scores",
    "TrainedModel",
    "Verdict",
    "check",
    "evaluate",
    "explain",
    "load_dataset",
    "load_images",
    "losses",
    "metrics",
    "paired_differences",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"lico_bench.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"lico_bench.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'lico_bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
