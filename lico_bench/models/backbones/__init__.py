"""Backbones by name. A file here registers builders of a feature extractor and its width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lico_bench.registry import Registry


@dataclass(frozen=True)
class Backbone:
    """One architecture without its classification layer.

    Attributes:
        title: as it is written in a table.
        build: makes a module from images (N, 3, H, W) to maps (N, channels, h, w).
        channels: number of maps, C.
        explanation_layer: dotted name, inside the classifier, of the module that is explained.
        source: the paper.
    """

    title: str
    build: Callable[[], nn.Module]
    channels: int
    source: str
    explanation_layer: str = "features"


BACKBONES: Registry[Backbone] = Registry("backbone", __name__)
