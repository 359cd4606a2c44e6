"""Tables of a report, independent of the format that renders them; those of claims and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from lico_bench.claims import ClaimVerdict, Evidence
from lico_bench.report import formatting
from lico_bench.report.content import ALL, BOTH_CORRECT, Block, Line, ReportContent

Kind = Literal["label", "value", "published", "ours", "missing", "empty"]
HOLDS_STANDINS = "Holds stand-in data."
MAX_EVIDENCE = 8  # rows per claim; verdicts.json holds all
COLUMN_SHARES = (0.17, 0.13, 0.64)
NOT_TESTED = "Not among the differences that are tested: it is the same scores on fewer images."


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: displayed text; `value [low, high]` for a value of this run beside published ones.
        kind: `label` identifies the row, the others are values. Beside published values
            (`published`), those of this run are `ours`; `missing` is a published value that is not
            confirmed; `empty` has no value.
        note: source and confidence of a published value, basis of a value of this run, or the
            reason for an empty cell.
        is_bold: whether the value is significant after correction.
    """

    text: str
    kind: Kind = "value"
    note: str = ""
    is_bold: bool = False


@dataclass(frozen=True)
class Row:
    """A row; `protocol` and `unit` of its values are listed in the notes below the table."""

    cells: tuple[Cell, ...]
    protocol: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Section:
    """Rows below a title; an empty title is not shown."""

    title: str
    rows: tuple[Row, ...]
    warning: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table; the first cells of every row are labels.

    Attributes:
        columns: headers; `score, arm` for a value of one arm.
        notes: shown below the table, after the notes of its sections and rows.
        warning: shown in bold after the caption.
        shares: share of the line width per column of running text; empty for columns of natural
            width.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    warning: str = ""
    shares: tuple[float, ...] = ()

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """The cells of all rows."""
        return [row.cells for section in self.sections for row in section.rows]

    @property
    def num_labels(self) -> int:
        """Number of label columns; all but the last are blank where they repeat the row above."""
        first = next(row for section in self.sections for row in section.rows)
        return sum(cell.kind == "label" for cell in first.cells)

    def all_notes(self) -> list[str]:
        """Return the notes of sections, protocols, units and the table, each once."""
        notes = [note for section in self.sections for note in section.notes]
        rows = [row for section in self.sections for row in section.rows]
        protocols = dict.fromkeys(row.protocol for row in rows if row.protocol)
        if protocols:
            notes.append(f"Protocols: {'; '.join(protocols)}.")
        units: dict[str, dict[str, None]] = {}
        for row in rows:
            if row.unit:
                units.setdefault(row.unit, {})[row.cells[0].text] = None
        if units:
            groups = (f"{', '.join(names)}: {unit}" for unit, names in units.items())
            notes.append(f"Units: {'; '.join(groups)}.")
        return list(dict.fromkeys([*notes, *self.notes]))


def claim_tables(content: ReportContent) -> Iterator[Table]:
    """Yield one table, or none if the suite declares no claims."""
    if not content.claims:
        return
    rows = [row for verdict in content.claims for row in _claim_rows(content, verdict)]
    yield Table(
        name="claims",
        title="Claims of the paper, declared before the run, and what the run says of them",
        columns=("Claim", "Verdict", "Evidence"),
        sections=(Section("", tuple(rows)),),
        notes=(
            "Gains are turned so that larger is better, on maps minus the gain of the random map; "
            "brackets are 95 % intervals. p is corrected after Holm over the primary comparisons "
            "of all claims, or over the other data sets of a claim; q is the false-discovery rate "
            "over all further methods. Rules of version 2.",
            "Stand-ins test no claim, and a single training decides none.",
        ),
        warning=HOLDS_STANDINS if content.has_standins else "",
        shares=COLUMN_SHARES,
    )


def _claim_rows(content: ReportContent, verdict: ClaimVerdict) -> Iterator[Row]:
    """Yield the verdict, then its evidence on real images."""
    real = [evidence for evidence in verdict.evidence if evidence.source != "standin"]
    omitted = {
        "further comparison": len(real[MAX_EVIDENCE:]),
        "stand-in comparison": len(verdict.evidence) - len(real),
    }
    counts = [formatting.plural(count, name) for name, count in omitted.items() if count]
    sentences = [
        verdict.sentence,
        *(_evidence_sentence(content, evidence) for evidence in real[:MAX_EVIDENCE]),
        *([f"In verdicts.json: {', '.join(counts)}."] if counts else []),
    ]
    is_conclusive = verdict.outcome not in ("inconclusive", "not_tested")
    claim = Cell(verdict.claim.title, "label", f"Claimed in {verdict.claim.source}.")
    outcome = Cell(verdict.outcome.replace("_", " "), "label", is_bold=is_conclusive)
    for sentence in sentences:
        yield Row((claim, outcome, Cell(sentence, "label")))


def _evidence_sentence(content: ReportContent, evidence: Evidence) -> str:
    setting = [
        content.dataset_title(evidence.dataset, evidence.source),
        evidence.backbone,
        "" if evidence.labels == "full" else f"{evidence.labels} labels",
        content.method_title(evidence.method) if evidence.method else "",
    ]
    images = formatting.plural(evidence.num_images, "image")
    seeds = formatting.plural(evidence.num_seeds, "seed")
    outcome = evidence.outcome.replace("_", " ")
    return f"{', '.join(filter(None, setting))} ({images}, {seeds}): {outcome}; {evidence.sentence}"


def score_tables(content: ReportContent) -> Iterator[Table]:
    """Yield the tables of each method and arm, those of the model itself first.

    With several arms, a table has the differences to the reference arm, and each method has one
    table for all images and one for those that both models classify correctly. With one arm, it has
    the means.
    """
    selected: dict[tuple[str, str, str], list[Line]] = {}
    for line in content.lines:
        if line.difference or len(content.arms) == 1:
            selected.setdefault((line.method, line.arm, line.subset), []).append(line)
    for method in ("", *content.methods()):
        for arm in content.arms[1:] or content.arms:
            for subset in (ALL, BOTH_CORRECT):
                if (method, arm, subset) in selected:
                    yield _score_table(content, selected[method, arm, subset])


def _score_table(content: ReportContent, lines: Sequence[Line]) -> Table:
    """Return the table of the lines of one method, arm and subset, with a section per block."""
    first = lines[0]
    name, arm = formatting.file_stem(first.method), content.arm_title(first.arm)
    title = content.method_title(first.method) if first.method else "Scores of the model itself"
    columns: tuple[str, ...] = ("Score", "Mean", "95 % interval", "Images")
    notes = [_interval_note(content)]
    is_tested = bool(first.difference) and first.subset == ALL
    if first.difference:
        reference = content.arm_title(content.reference_arm)
        name += f"_{first.arm}{'' if is_tested else '_both_correct'}"
        images = "" if is_tested else ", images that both models classify correctly"
        title += f": {arm} against {reference}{images}"
        q_header = ("q",) if is_tested else ()
        columns = ("Score", reference, arm, "Difference", "95 % interval", *q_header, "Images")
        notes.append(_bold_note(content) if is_tested else NOT_TESTED)
    else:
        title += f": {arm}"
    return Table(
        name=name,
        title=title,
        columns=columns,
        sections=tuple(
            _section(content, content.blocks[number], list(group), is_tested=is_tested)
            for number, group in groupby(lines, key=lambda line: line.block)
        ),
        notes=tuple(notes),
        warning=HOLDS_STANDINS if content.has_standins else "",
    )


def _section(
    content: ReportContent, block: Block, lines: Sequence[Line], *, is_tested: bool
) -> Section:
    rows = [
        Row(
            (Cell(line.score, "label"), *_values(line, is_tested)),
            content.protocol_sentence(line.protocol) if line.protocol else "",
            # Cells in percent show their unit.
            "" if line.is_percent else line.unit,
        )
        for line in lines
    ]
    standin = f"{formatting.STANDIN}, " if block.is_standin else ""
    data_note = (
        f"{block.title}: {standin}{block.data}; {block.backbone}; "
        f"{formatting.plural(block.num_seeds, 'seed')}."
    )
    warning = formatting.STANDIN if block.is_standin else ""
    return Section(f"{block.title}{block.budget}", tuple(rows), warning, (data_note,))


def _values(line: Line, is_tested: bool) -> list[Cell]:
    cells = [Cell(line.mean)]
    if line.difference:
        is_bold = is_tested and line.is_significant
        cells = [Cell(line.reference), Cell(line.mean), Cell(line.difference, is_bold=is_bold)]
    p_value = [Cell(line.q_value)] if is_tested else []
    return [*cells, Cell(line.interval), *p_value, Cell(f"{line.num_images:,}")]


def _interval_note(content: ReportContent) -> str:
    seeds = min(block.num_seeds for block in content.blocks)
    return (
        "Brackets: 95 % intervals, two-level bootstrap. "
        f"{formatting.seeds_sentence(seeds)} Arrows point to the better end; differences of "
        "percentages are in points."
    )


def _bold_note(content: ReportContent) -> str:
    correction = formatting.correction(content.num_compared)
    return (
        f"Bold: q < {formatting.SIGNIFICANT:g}, the {correction}. "
        "No q: not one of them, since it is descriptive, a control, or there to judge the others "
        "by."
    )
