"""Terminal summary of a run: means of the arms, paired differences and intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import AUXILIARY_METRICS, Block, ReportContent, gather
from lico_bench.store import RunFolder

_STYLES = {
    "better": "bold green", "worse": "bold red", "leans better": "green", "leans worse": "red",
    "unclear": "dim", "no interval": "dim",
}  # fmt: skip
_VERDICT_STYLES = {
    "supported": "bold green", "contradicted": "bold red", "equivalent": "cyan",
    "inconclusive": "yellow",
}  # fmt: skip


def summary_table(run: RunFolder) -> Group:
    """Return a rich renderable with means, paired differences and intervals by dataset.

    Raises:
        MissingDataError: if the folder holds no run or the run has no finished cell.
    """
    return show_summary(gather(run))


def show_summary(content: ReportContent) -> Group:
    """Return the summary of content that is already gathered."""
    parts: list[RenderableType] = [Text(line, style="bold yellow") for line in content.headlines]
    for block in content.blocks:
        parts += [_heading(block), _table(content, block), Text()]
    parts += [Text(note, style="yellow") for note in content.notes]
    parts += _claims(content)
    seeds = min(block.num_seeds for block in content.blocks)
    # Protocols whose rules are unknown are omitted.
    foot = [sentence for sentence in content.protocols() if ": " in sentence]
    foot.append(f"Brackets: 95 % intervals. {formatting.seeds_sentence(seeds)}")
    if content.num_compared:
        foot.append(formatting.family_sentence(content.num_compared))
    if content.has_standins:
        foot.append(
            f"{formatting.STANDIN}: synthetic images that replace a dataset that was not found; "
            "their scores say nothing about the real dataset."
        )
    return Group(*parts, *(Text(line, style="dim") for line in foot))


def _claims(content: ReportContent) -> Iterator[RenderableType]:
    """Yield a table of the tested claims and the number of the others."""
    tested = [verdict for verdict in content.claims if verdict.outcome != "not_tested"]
    if tested:
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
        for title in ("Claim", "Verdict", ""):
            table.add_column(title, overflow="fold")
        for verdict in tested:
            style = _VERDICT_STYLES[verdict.outcome]
            outcome = f"[{style}]{verdict.outcome}[/]"
            reason = verdict.sentence.removeprefix(verdict.outcome).lstrip(": ")
            table.add_row(escape(verdict.claim.title), outcome, escape(reason))
        yield table
    num_untested = len(content.claims) - len(tested)
    if num_untested:
        yield Text(
            f"Claims not tested by this run: {num_untested} of {len(content.claims)}; "
            "the report lists what each claim needs.",
            style="dim",
        )


def _heading(block: Block) -> Text:
    text = Text()
    if block.is_standin:
        text.append(f" {formatting.STANDIN} ", style="bold black on yellow")
        text.append(" ")
    text.append(block.title, style="bold")
    budget = "" if block.labels == "full" else f", {block.labels} labels"
    seeds = formatting.plural(block.num_seeds, "seed")
    text.append(f"  {block.data}, {block.backbone}{budget}, {seeds}", style="dim")
    return text


def _table(content: ReportContent, block: Block) -> Table:
    has_pairs = not block.differences.empty
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    many_arms = len(content.arms) > 2
    if has_pairs:
        reference = escape(content.arm_title(content.reference_arm))
        if many_arms:
            table.add_column(f"  Score of {reference}, arm")
        else:
            table.add_column("  Score")
            table.add_column(reference, justify="right", no_wrap=True)
        table.add_column(
            "Mean" if many_arms else escape(content.arm_title(content.arms[1])),
            justify="right",
            no_wrap=True,
        )
        table.add_column("Diff.", justify="right", no_wrap=True)
        table.add_column("95 % interval", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
    else:
        for title in ("  Score", "Arm"):
            table.add_column(title)
        for title in ("Mean", "95 % interval"):
            table.add_column(title, justify="right")
    for cells in _lines(content, block, has_pairs=has_pairs, many_arms=many_arms):
        table.add_row(*cells)
    return table


def _lines(
    content: ReportContent, block: Block, *, has_pairs: bool, many_arms: bool
) -> Iterator[list[str]]:
    previous: str | None = None
    requested = content.manifest.suite.metrics
    frame = block.differences if has_pairs else block.means
    for method, spec in content.each_score(block):
        if spec.name in AUXILIARY_METRICS and spec.name not in requested:
            continue
        if method != previous and method:
            yield [f"[bold]{escape(content.method_title(method))}[/]"]
        previous = method
        name = escape(f"  {formatting.title_with_arrow(spec)}")
        if has_pairs and many_arms:  # a row for the reference arm, then one per other arm
            means = _of_score(block.means, method, spec)
            reference = means.loc[means["arm"] == content.reference_arm, "mean"]
            yield [name, *(formatting.value(mean, spec) for mean in reference)]
        for _, row in _of_score(frame, method, spec).iterrows():
            arm = escape(content.arm_title(row["arm"]))
            if not has_pairs:
                yield [name, arm, *_mean_cells(row, spec)]
            else:
                cells = _pair_cells(row, spec)
                yield [f"   {arm}", *cells[1:]] if many_arms else [name, *cells]
            name = ""


def _of_score(frame: pd.DataFrame, method: str, spec: MetricSpec) -> pd.DataFrame:
    return frame[(frame["method"] == method) & (frame["metric"] == spec.name)]


def _pair_cells(row: pd.Series[Any], spec: MetricSpec) -> list[str]:
    word = formatting.effect(row["low"], row["high"], spec, row["p_holm"])
    return [
        formatting.value(row["mean_reference"], spec),
        formatting.value(row["mean"], spec),
        *map(escape, formatting.difference(row["difference"], row["low"], row["high"], spec)),
        f"[{_STYLES.get(word, 'cyan')}]{word}[/]",
    ]


def _mean_cells(row: pd.Series[Any], spec: MetricSpec) -> list[str]:
    text = formatting.mean_interval(row["low"], row["high"], spec)
    return [formatting.value(row["mean"], spec), escape(text)]
