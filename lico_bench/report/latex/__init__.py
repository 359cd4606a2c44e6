"""LaTeX tables for papers (booktabs): one file per table, and a document that includes them all."""

from lico_bench.report.latex.drawing import draw_tables
from lico_bench.report.latex.escaping import escape
from lico_bench.report.latex.typesetting import LatexTable, document

__all__ = ["LatexTable", "document", "draw_tables", "escape"]
