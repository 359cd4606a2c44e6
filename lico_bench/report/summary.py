"""Terminal summary of a run: means of the arms, paired differences and intervals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lico_bench.report import formatting
from lico_bench.report.content import Block, Line, ReportContent
from lico_bench.report.gathering import gather
from lico_bench.store import RunFolder

_STYLES = {
    "better": "bold green", "worse": "bold red", "leans better": "green", "leans worse": "red",
    "unclear": "dim", "no interval": "dim",
}  # fmt: skip
_VERDICT_STYLES = {
    "improvement": "bold green", "harm": "bold red", "gain_ruled_out": "red",
    "loss_ruled_out": "green", "equivalent": "cyan", "inconclusive": "yellow",
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
    for number, block in enumerate(content.blocks):
        parts += [_heading(block), _table(content, number), Text()]
    parts += [Text(note, style="yellow") for note in content.notes]
    parts += _claims(content)
    seeds = min(block.num_seeds for block in content.blocks)
    # Protocols whose rules are unknown are omitted.
    sentences = map(content.protocol_sentence, content.protocols)
    foot = [sentence for sentence in sentences if ": " in sentence]
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
            word = verdict.outcome.replace("_", " ")
            outcome = f"[{style}]{word}[/]"
            reason = verdict.sentence.removeprefix(word).lstrip(": ")
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
    seeds = formatting.plural(block.num_seeds, "seed")
    text.append(f"  {block.data}, {block.backbone}{block.budget}, {seeds}", style="dim")
    return text


def _table(content: ReportContent, block: int) -> Table:
    has_pairs = not content.blocks[block].differences.empty
    many_arms = len(content.arms) > 2
    arms = [escape(content.arm_title(arm)) for arm in content.arms]
    left, right = ["  Score", "Arm"], ["Mean", "95 % interval"]
    if has_pairs and many_arms:
        left, right = [f"  Score of {arms[0]}, arm"], ["Mean", "Diff.", "95 % interval"]
    elif has_pairs:
        left, right = ["  Score"], [*arms, "Diff.", "95 % interval"]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for title in left:
        table.add_column(title)
    for title in right:
        table.add_column(title, justify="right", no_wrap=has_pairs)
    if has_pairs:
        table.add_column("", no_wrap=True)
    for cells in _lines(content, block, has_pairs=has_pairs, many_arms=many_arms):
        table.add_row(*cells)
    return table


def _lines(
    content: ReportContent, block: int, *, has_pairs: bool, many_arms: bool
) -> Iterator[list[str]]:
    method = ""
    results = content.result_lines(block)
    for _, group in groupby(results, key=lambda line: (line.method, line.metric)):
        lines = list(group)
        if lines[0].method != method:
            method = lines[0].method
            yield [f"[bold]{escape(content.method_title(method))}[/]"]
        name = escape(f"  {lines[0].score}")
        if has_pairs and many_arms:  # a row for the reference arm, then one per other arm
            yield [name, _reference_mean(content, lines[0])]
        for line in lines:
            arm = escape(content.arm_title(line.arm))
            if not has_pairs:
                yield [name, arm, line.mean, escape(line.interval)]
            else:
                effect = f"[{_STYLES.get(line.effect, 'cyan')}]{line.effect}[/]"
                cells = [line.mean, line.difference, escape(line.interval), effect]
                yield [f"   {arm}", *cells] if many_arms else [name, line.reference, *cells]
            name = ""


def _reference_mean(content: ReportContent, line: Line) -> str:
    means = content.blocks[line.block].means
    is_score = (means["method"] == line.method) & (means["metric"] == line.metric)
    (mean,) = means.loc[is_score & (means["arm"] == content.reference_arm), "mean"]
    return formatting.value(mean, content.specs[line.metric])
