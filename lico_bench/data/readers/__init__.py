"""Readers of on-disk layouts, one file each; a file dropped in here adds its layout."""

from __future__ import annotations

from lico_bench.data.split_index import Reader
from lico_bench.registry import Registry

READERS: Registry[Reader] = Registry("dataset layout", "lico_bench.data.readers")
