"""Registry of backbones. Each module of this package registers feature extractors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lico_bench.registry import Registry


@dataclass(frozen=True)
class Backbone:
    """An architecture without its classification layer.

    Attributes:
        title: name in tables.
        build: returns a module from images (N, 3, H, W) to maps (N, channels, h, w).
        channels: number of maps, C.
        explanation_layer: dotted name of the explained module within the classifier.
        source: the paper.
    """

    title: str
    build: Callable[[], nn.Module]
    channels: int
    source: str
    explanation_layer: str = "features"


BACKBONES: Registry[Backbone] = Registry("backbone", __name__)
