"""Terminal tables of a verdict and of an update of the reference."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lico_bench.gate import formatting
from lico_bench.gate.judgement import WORST_FIRST, Outcome, Verdict
from lico_bench.gate.update import Update

MAX_ROWS = 24  # longer tables list only the scores that need attention
_STYLES: dict[Outcome, str] = {
    "regression": "bold red",
    "not_comparable": "magenta",
    "inconclusive": "yellow",
    "pass": "green",
    "better": "bold green",
}
_NEEDS_ATTENTION: tuple[Outcome, ...] = ("regression", "not_comparable", "inconclusive")


def verdict_table(verdict: Verdict) -> RenderableType:
    """Return a table of the judgements, the worst first, with the verdict's sentence as title.

    A verdict with more than `MAX_ROWS` scores lists only those that did not pass.
    """
    title = escape(verdict.sentence)
    table = Table(title=title, title_style=_STYLES[verdict.outcome], expand=True)
    table.add_column("Score", ratio=4, overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Reason", ratio=5, overflow="fold")
    table.add_column("Sample", ratio=2, overflow="fold")
    is_long = len(verdict.judgements) > MAX_ROWS
    for judgement in verdict.with_outcome(*(_NEEDS_ATTENTION if is_long else WORST_FIRST)):
        table.add_row(
            escape(f"{formatting.models_text(judgement)}: {formatting.score_text(judgement)}"),
            f"[{_STYLES[judgement.outcome]}]{formatting.outcome_text(judgement.outcome)}[/]",
            escape(judgement.sentence),
            escape(formatting.basis_text(judgement)),
        )
    lines = [Text(f"Note: {note}") for note in verdict.notes]
    if not is_long:
        return Group(table, *lines)
    lines.append(Text("Scores that pass are not listed; --markdown and --junit list all scores."))
    return Group(
        table if table.row_count else Text(verdict.sentence, _STYLES[verdict.outcome]), *lines
    )


def update_table(update: Update) -> RenderableType:
    """Return a table of the changed, added and removed scores, with their counts as title."""
    lines: list[RenderableType] = [Text(note) for note in update.notes]
    if not update.changes:
        return Group(Text(update.sentence), *lines)
    table = Table(title=escape(update.sentence), expand=True)
    table.add_column("Score", ratio=4, overflow="fold")
    table.add_column("Before", justify="right")
    table.add_column("After", justify="right")
    table.add_column("Change", ratio=2, overflow="fold")
    table.add_column("Margin and other changes", ratio=3, overflow="fold")
    for change in update.changes:
        table.add_row(
            escape(change.score), change.before, change.after, change.change, escape(change.others)
        )
    return Group(table, *lines)
