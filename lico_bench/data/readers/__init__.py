"""Registry of dataset layout readers; each module of this package registers one."""

from __future__ import annotations

from lico_bench.data.split_index import Reader
from lico_bench.registry import Registry

READERS: Registry[Reader] = Registry("dataset layout", "lico_bench.data.readers")
