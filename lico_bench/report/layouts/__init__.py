"""The paper's tables: published numbers, and this run's beside them."""

from lico_bench.report.layouts.build import build_layouts
from lico_bench.report.layouts.records import Layout, LayoutCell

__all__ = ["Layout", "LayoutCell", "build_layouts"]
