"""The tables of a report: claims, published values, scores; LaTeX and HTML render them."""

from lico_bench.report.tables.claims import claim_tables
from lico_bench.report.tables.model import Cell, Row, Section, Table
from lico_bench.report.tables.paper import paper_tables
from lico_bench.report.tables.scores import score_tables

__all__ = ["Cell", "Row", "Section", "Table", "claim_tables", "paper_tables", "score_tables"]
