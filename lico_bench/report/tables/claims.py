"""Table of the papers' claims with verdict and evidence."""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.claims import ClaimVerdict, Evidence
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.tables.model import HOLDS_STANDINS, Cell, Row, Section, Table

MAX_EVIDENCE = 8  # rows per claim; verdicts.json holds all
COLUMN_SHARES = (0.18, 0.11, 0.65)


def claim_tables(content: ReportContent) -> Iterator[Table]:
    """Yield one table, or none if the suite declares no claims."""
    if not content.claims:
        return
    rows = [row for verdict in content.claims for row in _rows(content, verdict)]
    yield Table(
        name="claims",
        title="Claims of the paper, declared before the run, and what the run says of them",
        columns=("Claim", "Verdict", "Evidence"),
        sections=(Section("", tuple(rows)),),
        notes=(
            "Gains are turned so that larger is better; brackets are 95 % intervals. p is "
            "corrected after Holm over all comparisons that claims of a gain put to the test.",
            "Stand-ins test no claim, and a single training supports none.",
        ),
        warning=HOLDS_STANDINS if content.has_standins else "",
        shares=COLUMN_SHARES,
    )


def _rows(content: ReportContent, verdict: ClaimVerdict) -> Iterator[Row]:
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
    is_conclusive = verdict.outcome in ("supported", "contradicted", "equivalent")
    claim = Cell(verdict.claim.title, "label", f"Claimed in {verdict.claim.source}.")
    outcome = Cell(verdict.outcome.replace("_", " "), "label", is_bold=is_conclusive)
    for sentence in sentences:
        yield Row((claim, outcome, Cell(sentence, "label")))


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
