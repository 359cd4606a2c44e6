"""The claims of the papers, with the verdict on each and what it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.claims import ClaimVerdict, Evidence
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.latex.sheet import HOLDS_STANDINS, Cell, Line, Section, Sheet

MOST_PIECES = 8  # of evidence on one claim; a table is no archive
SHARES = (0.2, 0.11, 0.69)


def claim_sheets(content: ReportContent) -> Iterator[Sheet]:
    """One sheet, or none without claims."""
    if not content.claims:
        return
    lines = [line for verdict in content.claims for line in _lines(content, verdict)]
    yield Sheet(
        name="claims",
        run_name=str(content.manifest["suite"].get("name", "")),
        caption="Claims of the paper, declared before the run, and what the run says of them",
        heads=("Claim", "Verdict", "Evidence"),
        align="lll",
        sections=(Section("", tuple(lines)),),
        notes=(
            "Gains are turned so that larger is better; brackets are 95 % intervals. p is "
            "corrected after Holm over all comparisons that claims of a gain put to the test.",
            "Stand-ins test no claim, and a single training supports none.",
        ),
        alarm=HOLDS_STANDINS if content.has_standins else "",
        shares=SHARES,
        num_labels=2,
    )


def standin_note(content: ReportContent) -> str:
    """The alarm of a table that holds numbers of drawn images."""
    return "Holds stand-in data." if content.has_standins else ""


def _lines(content: ReportContent, verdict: ClaimVerdict) -> Iterator[Line]:
    title = verdict.claim.title
    outcome = verdict.outcome.replace("_", " ")
    is_sure = verdict.outcome in ("supported", "contradicted", "equivalent")
    yield _line(title, outcome, verdict.sentence, verdict.claim.source, is_sure=is_sure)
    real = [piece for piece in verdict.evidence if piece.source != "standin"]
    for piece in real[:MOST_PIECES]:
        yield _line(title, outcome, _piece(content, piece))
    drawn = len(verdict.evidence) - len(real)
    more = {"further comparison": len(real[MOST_PIECES:]), "stand-in comparison": drawn}
    message = [formatting.plural(count, name) for name, count in more.items() if count]
    if message:
        yield _line(title, outcome, f"In verdicts.json: {', '.join(message)}.")


def _line(
    title: str, outcome: str, sentence: str, source: str = "", *, is_sure: bool = False
) -> Line:
    note = f"Claimed in {source}." if source else ""
    return Line((Cell(title, note=note), Cell(outcome, is_bold=is_sure), Cell(sentence)))


def _piece(content: ReportContent, piece: Evidence) -> str:
    facts = content.manifest.get("datasets", {}).get(piece.dataset)
    budget = "" if piece.labels == "full" else f"{piece.labels} labels"
    place = [formatting.dataset_title(facts, piece.dataset, piece.source), piece.backbone, budget]
    if piece.method:
        place.append(content.method_title(piece.method))
    sizes = [
        formatting.plural(piece.num_images, "image"),
        formatting.plural(piece.num_seeds, "seed"),
    ]
    outcome = piece.outcome.replace("_", " ")
    return f"{', '.join(filter(None, place))} ({', '.join(sizes)}): {outcome}; {piece.sentence}"
