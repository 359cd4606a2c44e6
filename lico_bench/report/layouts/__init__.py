"""The paper's tables with published values and the values of this run."""

from lico_bench.report.layouts.build import build_layouts
from lico_bench.report.layouts.records import Layout, LayoutCell

__all__ = ["Layout", "LayoutCell", "build_layouts"]
