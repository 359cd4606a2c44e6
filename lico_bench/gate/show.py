"""A verdict as a table for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from lico_bench.gate.verdict import Judgement, Verdict

_STYLES = {  # gravest first
    "regression": "bold red",
    "not_comparable": "magenta",
    "inconclusive": "yellow",
    "pass": "green",
}


def verdict_table(verdict: Verdict) -> Table:
    """The judgements, gravest first, under the verdict's sentence."""
    gravity = list(_STYLES)
    table = Table(title=escape(verdict.sentence), title_style=_STYLES[verdict.outcome], expand=True)
    table.add_column("Score", ratio=3, overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Why", ratio=5, overflow="fold")
    for judgement in sorted(verdict.judgements, key=lambda one: gravity.index(one.outcome)):
        style = _STYLES[judgement.outcome]
        outcome = f"[{style}]{judgement.outcome.replace('_', ' ')}[/]"
        table.add_row(escape(_what(judgement)), outcome, escape(judgement.sentence))
    return table


def _what(judgement: Judgement) -> str:
    score = f"{judgement.metric} of {judgement.method}" if judgement.method else judgement.metric
    budget = "" if judgement.labels == "full" else f", {judgement.labels} labels"
    return f"{judgement.dataset}, {judgement.arm}{budget}: {score}"
