"""Images with labels and object regions: cards, readers of official layouts, drawn stand-ins.

Names load what they need when first used, so that listing the cards imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lico_bench.data.cards import DatasetCard, card_names, load_card
    from lico_bench.data.dataset import Dataset
    from lico_bench.data.describe import DatasetFacts, describe_dataset, describe_official
    from lico_bench.data.download import fetch
    from lico_bench.data.find_dataset import resolve_source, where
    from lico_bench.data.folder import load_images
    from lico_bench.data.loading import load_dataset
    from lico_bench.data.readers import READERS
    from lico_bench.data.verification import verify_dataset

_HOMES = {
    "Dataset": "dataset",
    "DatasetCard": "cards",
    "DatasetFacts": "describe",
    "READERS": "readers",
    "card_names": "cards",
    "describe_dataset": "describe",
    "describe_official": "describe",
    "fetch": "download",
    "load_card": "cards",
    "load_dataset": "loading",
    "load_images": "folder",
    "resolve_source": "find_dataset",
    "verify_dataset": "verification",
    "where": "find_dataset",
}

__all__ = [
    "READERS",
    "Dataset",
    "DatasetCard",
    "DatasetFacts",
    "card_names",
    "describe_dataset",
    "describe_official",
    "fetch",
    "load_card",
    "load_dataset",
    "load_images",
    "resolve_source",
    "verify_dataset",
    "where",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"lico_bench.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lico_bench.data' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
