"""Table of the papers' claims with verdict and evidence."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.claims import ClaimVerdict, Evidence
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.latex.sheet import HOLDS_STANDINS, Cell, Line, Section, Sheet

MAX_EVIDENCE = 8  # lines per claim; verdicts.json holds all
COLUMN_SHARES = (0.2, 0.11, 0.69)


def claim_sheets(content: ReportContent) -> Iterator[Sheet]:
    """Yield one sheet, or none if the suite declares no claims."""
    if not content.claims:
        return
    lines = [line for verdict in content.claims for line in _lines(content, verdict)]
    yield Sheet(
        name="claims",
        run_name=content.manifest.suite.name,
        caption="Claims of the paper, declared before the run, and what the run says of them",
        headers=("Claim", "Verdict", "Evidence"),
        align="lll",
        sections=(Section("", tuple(lines)),),
        notes=(
            "Gains are turned so that larger is better; brackets are 95 % intervals. p is "
            "corrected after Holm over all comparisons that claims of a gain put to the test.",
            "Stand-ins test no claim, and a single training supports none.",
        ),
        warning=HOLDS_STANDINS if content.has_standins else "",
        shares=COLUMN_SHARES,
        num_labels=2,
    )


def _lines(content: ReportContent, verdict: ClaimVerdict) -> Iterator[Line]:
    title = verdict.claim.title
    outcome = verdict.outcome.replace("_", " ")
    is_conclusive = verdict.outcome in ("supported", "contradicted", "equivalent")
    yield _line(title, outcome, verdict.sentence, verdict.claim.source, is_conclusive=is_conclusive)
    real = [evidence for evidence in verdict.evidence if evidence.source != "standin"]
    for evidence in real[:MAX_EVIDENCE]:
        yield _line(title, outcome, _evidence_sentence(content, evidence))
    omitted = {
        "further comparison": len(real[MAX_EVIDENCE:]),
        "stand-in comparison": len(verdict.evidence) - len(real),
    }
    counts = [formatting.plural(count, name) for name, count in omitted.items() if count]
    if counts:
        yield _line(title, outcome, f"In verdicts.json: {', '.join(counts)}.")


def _line(
    title: str, outcome: str, sentence: str, source: str = "", *, is_conclusive: bool = False
) -> Line:
    note = f"Claimed in {source}." if source else ""
    return Line((Cell(title, note=note), Cell(outcome, is_bold=is_conclusive), Cell(sentence)))


def _evidence_sentence(content: ReportContent, evidence: Evidence) -> str:
    facts = content.manifest.datasets.get(evidence.dataset)
    budget = "" if evidence.labels == "full" else f"{evidence.labels} labels"
    dataset = formatting.dataset_title(facts, evidence.dataset, evidence.source)
    setting = [dataset, evidence.backbone, budget]
    if evidence.method:
        setting.append(content.method_title(evidence.method))
    sizes = [
        formatting.plural(evidence.num_images, "image"),
        formatting.plural(evidence.num_seeds, "seed"),
    ]
    outcome = evidence.outcome.replace("_", " ")
    title = ", ".join(filter(None, setting))
    return f"{title} ({', '.join(sizes)}): {outcome}; {evidence.sentence}"
