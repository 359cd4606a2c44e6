"""A verdict, and what an update changed, as tables for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lico_bench.gate import formatting
from lico_bench.gate.judgement import WORST_FIRST, Outcome, Verdict
from lico_bench.gate.update import Update

MOST_ROWS = 24  # with more, scores that are well are only counted
_STYLES: dict[Outcome, str] = {
    "regression": "bold red",
    "not_comparable": "magenta",
    "inconclusive": "yellow",
    "pass": "green",
    "better": "bold green",
}
_NOT_WELL: tuple[Outcome, ...] = ("regression", "not_comparable", "inconclusive")


def verdict_table(verdict: Verdict) -> RenderableType:
    """The judgements, gravest first, under the verdict's sentence; of many, those not well."""
    title = escape(verdict.sentence)
    table = Table(title=title, title_style=_STYLES[verdict.outcome], expand=True)
    table.add_column("Score", ratio=4, overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Why", ratio=5, overflow="fold")
    table.add_column("Rests on", ratio=2, overflow="fold")
    is_long = len(verdict.judgements) > MOST_ROWS
    for judgement in verdict.those(*(_NOT_WELL if is_long else WORST_FIRST)):
        table.add_row(
            escape(f"{formatting.where(judgement)}: {formatting.what(judgement)}"),
            f"[{_STYLES[judgement.outcome]}]{formatting.outcome_word(judgement.outcome)}[/]",
            escape(judgement.sentence),
            escape(formatting.basis(judgement)),
        )
    lines = [Text(f"Note: {note}") for note in verdict.notes]
    if not is_long:
        return Group(table, *lines)
    lines.append(Text("Scores that are well are not listed; --markdown and --junit list them all."))
    return Group(
        table if table.row_count else Text(verdict.sentence, _STYLES[verdict.outcome]), *lines
    )


def update_table(update: Update) -> RenderableType:
    """What moved, came and went, under the counts."""
    lines: list[RenderableType] = [Text(note) for note in update.notes]
    if not update.changes:
        return Group(Text(update.sentence), *lines)
    table = Table(title=escape(update.sentence), expand=True)
    table.add_column("Score", ratio=4, overflow="fold")
    table.add_column("Was", justify="right")
    table.add_column("Is", justify="right")
    table.add_column("Moved", ratio=2, overflow="fold")
    table.add_column("Margin, and what else changed", ratio=3, overflow="fold")
    for change in update.changes:
        table.add_row(
            escape(change.score), change.was, change.now, change.moved, escape(change.also)
        )
    return Group(table, *lines)
