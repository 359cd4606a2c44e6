"""Datasets: cards, readers of official layouts and synthetic stand-ins.

Names are imported on first use, so that listing the cards does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lico_bench.records import DatasetFacts
from lico_bench.registry import lazy_getattr

if TYPE_CHECKING:
    from lico_bench.data.cards import DatasetCard, card_names, load_card
    from lico_bench.data.dataset import Dataset
    from lico_bench.data.download import fetch
    from lico_bench.data.find_files import locate_dataset, resolve_source
    from lico_bench.data.folder import load_images
    from lico_bench.data.loading import describe_dataset, describe_official, load_dataset
    from lico_bench.data.readers import READERS
    from lico_bench.data.verification import verify_dataset

_MODULE_OF = {
    "Dataset": "dataset",
    "DatasetCard": "cards",
    "READERS": "readers",
    "card_names": "cards",
    "describe_dataset": "loading",
    "describe_official": "loading",
    "fetch": "download",
    "load_card": "cards",
    "load_dataset": "loading",
    "load_images": "folder",
    "resolve_source": "find_files",
    "verify_dataset": "verification",
    "locate_dataset": "find_files",
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
    "locate_dataset",
    "resolve_source",
    "verify_dataset",
]

__getattr__ = lazy_getattr(__name__, _MODULE_OF)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
