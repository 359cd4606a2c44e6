"""Every number of a run: one sheet per method and compared arm, or of the means of a single arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import Block, ReportContent
from lico_bench.report.latex.sheet import HOLDS_STANDINS, Cell, Line, Section, Sheet
from lico_bench.report.lookup import Row, rows_by_score

Cells = Callable[[Row, MetricSpec], list[Cell]]
Rows = Mapping[tuple[str, str, str], Row]
SUBSETS = ("all", "both_correct")


def pair_sheets(content: ReportContent) -> Iterator[Sheet]:
    """Each method and arm against the reference, all images and those that both get right."""
    found = {
        "all": [rows_by_score(block.differences) for block in content.blocks],
        "both_correct": [rows_by_score(block.both_correct) for block in content.blocks],
    }
    for method in ("", *content.methods()):
        for arm in content.arms[1:]:
            for subset in SUBSETS if method else SUBSETS[:1]:
                sheet = _pair_sheet(content, method, arm, subset, found[subset])
                if sheet.sections:
                    yield sheet


def mean_sheets(content: ReportContent) -> Iterator[Sheet]:
    """The means of each method, of a run that has nothing to compare."""
    found = [rows_by_score(block.means) for block in content.blocks]
    (arm,) = content.arms
    for method in ("", *content.methods()):
        sections = _sections(content, method, arm, found, _mean_cells)
        if sections:
            yield Sheet(
                name=formatting.file_stem(method),
                run_name=str(content.manifest["suite"].get("name", "")),
                caption=f"{_scores_of(content, method)}: {content.arm_title(arm)}",
                heads=("Score", "Mean", "95 % interval", "Images"),
                align="lrrr",
                sections=sections,
                notes=(_brackets(content),),
                alarm=HOLDS_STANDINS if content.has_standins else "",
            )


def _pair_sheet(
    content: ReportContent, method: str, arm: str, subset: str, found: Sequence[Rows]
) -> Sheet:
    is_all = subset == "all"
    ours, theirs = content.arm_title(arm), content.arm_title(content.reference_arm)
    images = "" if is_all else ", images that both models classify correctly"
    p_head = ("p (Holm)",) if is_all else ()
    return Sheet(
        name=f"{formatting.file_stem(method)}_{arm}{'' if is_all else '_both_correct'}",
        run_name=str(content.manifest["suite"].get("name", "")),
        caption=f"{_scores_of(content, method)}: {ours} against {theirs}{images}",
        heads=("Score", theirs, ours, "Difference", "95 % interval", *p_head, "Images"),
        align="lrrrr" + "r" * len(p_head) + "r",
        sections=_sections(content, method, arm, found, _tested_cells if is_all else _pair_cells),
        notes=(_brackets(content), _what_is_bold(content) if is_all else _not_tested()),
        alarm=HOLDS_STANDINS if content.has_standins else "",
    )


def _sections(
    content: ReportContent, method: str, arm: str, found: Sequence[Rows], cells: Cells
) -> tuple[Section, ...]:
    """One section per block that has scores of this arm and method."""
    made = (
        _section(content, block, method, arm, rows, cells)
        for block, rows in zip(content.blocks, found, strict=True)
    )
    return tuple(section for section in made if section.lines)


def _section(
    content: ReportContent, block: Block, method: str, arm: str, rows: Rows, cells: Cells
) -> Section:
    lines = []
    for spec in content.specs.values():
        row = rows.get((arm, method, spec.name))
        if row:
            unit = "" if formatting.is_percent(spec) else spec.unit  # percent says so by its sign
            name = Cell(formatting.title_with_arrow(spec))
            lines.append(Line((name, *cells(row, spec)), _rules(content, row), unit))
    budget = "" if block.labels == "full" else f", {block.labels} labels"
    label = f"{formatting.STANDIN}, " if block.is_standin else ""
    data = (
        f"{block.title}: {label}{block.data}; {block.backbone}; "
        f"{formatting.plural(block.num_seeds, 'seed')}."
    )
    alarm = formatting.STANDIN if block.is_standin else ""
    return Section(f"{block.title}{budget}", tuple(lines), alarm, (data,))


def _rules(content: ReportContent, row: Row) -> str:
    if not row["protocol"]:
        return ""
    known = content.manifest.get("protocols", {})
    return formatting.protocol_sentence(row["protocol"], known.get(row["protocol"]))


def _tested_cells(row: Row, spec: MetricSpec) -> list[Cell]:
    return _pair_cells(row, spec, row["p_holm"])


def _pair_cells(
    row: Row, spec: MetricSpec, p_holm: float | None = None
) -> list[Cell]:  # fmt: skip
    message, interval = formatting.difference(row["difference"], row["low"], row["high"], spec)
    return [
        Cell(formatting.value(row["mean_reference"], spec)),
        Cell(formatting.value(row["mean"], spec)),
        Cell(message, is_bold=formatting.is_significant(p_holm)),
        Cell(interval),
        *([] if p_holm is None else [Cell(formatting.p_value(p_holm))]),
        Cell(f"{row['num_images']:,}"),
    ]


def _mean_cells(row: Row, spec: MetricSpec) -> list[Cell]:
    return [
        Cell(formatting.value(row["mean"], spec)),
        Cell(formatting.mean_interval(row["low"], row["high"], spec)),
        Cell(f"{row['num_images']:,}"),
    ]


def _scores_of(content: ReportContent, method: str) -> str:
    return content.method_title(method) if method else "Scores of the model itself"


def _brackets(content: ReportContent) -> str:
    seeds = min(block.num_seeds for block in content.blocks)
    return (
        "Brackets: 95 % intervals, two-level bootstrap. "
        f"{formatting.seeds_sentence(seeds)} Arrows point to the better end; differences of "
        "percentages are in points."
    )


def _what_is_bold(content: ReportContent) -> str:
    return (
        f"Bold: p < {formatting.SIGNIFICANT:g} after {formatting.correction(content.num_compared)}. "
        "No p: not one of them, since it is descriptive, a control, or there to judge the others "
        "by."
    )


def _not_tested() -> str:
    return "Not among the differences that are tested: it is the same scores on fewer images."
