"""Verdicts on the declared claims with their evidence, formatted for the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from lico_bench.claims import Claim, ClaimVerdict, Evidence
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.lines import Bar, place_bar
from lico_bench.report.page.anchors import Anchors

# Sign and word of each outcome, so that no outcome is shown by colour alone.
OUTCOMES = {
    "supported": ("✔", "Supported"),
    "contradicted": ("✘", "Contradicted"),
    "equivalent": ("≈", "Equivalent"),
    "inconclusive": ("?", "Inconclusive"),
    "not_tested": ("○", "Not tested"),
}


def verdict_cards(content: ReportContent, anchors: Anchors) -> list[dict[str, Any]]:
    """Return one entry per claim in the order of their declaration."""
    return [_card(content, anchors, verdict) for verdict in content.claims]


def count_outcomes(content: ReportContent) -> list[dict[str, Any]]:
    """Return the number of claims per outcome, without outcomes that no claim has."""
    counts = Counter[str](verdict.outcome for verdict in content.claims)
    return [
        {**_outcome(outcome), "count": counts[outcome]} for outcome in OUTCOMES if counts[outcome]
    ]


def _outcome(outcome: str) -> dict[str, str]:
    sign, word = OUTCOMES[outcome]
    return {"outcome": outcome, "sign": sign, "word": word}


def _card(content: ReportContent, anchors: Anchors, verdict: ClaimVerdict) -> dict[str, Any]:
    claim = verdict.claim
    spec = content.specs.get(claim.metric)
    return {
        **_outcome(verdict.outcome),
        "id": claim.id,
        "title": claim.title,
        "statement": claim.statement,
        "sentence": _sentence(verdict.sentence, verdict.outcome),
        "source": claim.source.rstrip("."),
        "endpoint": _endpoint(content, claim, spec),
        "evidence": list(_evidence(content, anchors, verdict, spec)),
    }


def _endpoint(content: ReportContent, claim: Claim, spec: MetricSpec | None) -> str:
    """Return the declared comparison: arms, metric, direction and smallest effect."""
    score = claim.metric.replace("_", " ") if spec is None else formatting.title_with_arrow(spec)
    size = (  # the run may lack the metric
        f"{claim.smallest_effect:.3g}"
        if spec is None
        else formatting.signed(claim.smallest_effect, spec).lstrip("+")
    )
    arms = f"{content.arm_title(claim.arm)} against {content.arm_title(claim.reference_arm)}"
    is_not_worse = claim.direction == "not_worse"
    direction = "not worse by more than" if is_not_worse else "better; smallest relevant effect"
    return f"{arms} on {score}: {direction} {size}{_points(spec)}."


def _evidence(
    content: ReportContent, anchors: Anchors, verdict: ClaimVerdict, spec: MetricSpec | None
) -> Iterator[dict[str, Any]]:
    band = verdict.claim.smallest_effect
    largest = max([band, *(_largest(evidence) for evidence in verdict.evidence)])
    for evidence in verdict.evidence:
        setting = (evidence.dataset, evidence.source, evidence.backbone, evidence.labels)
        gain, interval = _gain(evidence, spec)
        yield {
            **_outcome(evidence.outcome),
            "dataset": _dataset(content, setting),
            "is_standin": evidence.source == "standin",
            "backbone": evidence.backbone,
            "labels": evidence.labels,
            "method": content.method_title(evidence.method),
            "sentence": _sentence(evidence.sentence, evidence.outcome),
            "gain": gain,
            "interval": interval if interval != formatting.NO_VALUE else "",
            "bar": _bar(evidence, largest, band),
            "p_holm": _p_value(evidence.p_holm),
            "p_equivalent": _p_value(evidence.p_equivalent),
            "num_images": evidence.num_images,
            "num_seeds": evidence.num_seeds,
            "protocol": evidence.protocol,
            "rules": anchors.rules(evidence.protocol, verdict.claim.metric),
            "models": anchors.models(setting),
        }


def _p_value(number: float | None) -> str:
    return formatting.NO_VALUE if number is None else formatting.p_value(number)


def _sentence(sentence: str, outcome: str) -> str:
    """Return a sentence without its leading outcome, capitalised and with a full stop."""
    text = sentence.removeprefix(outcome.replace("_", " ") + ": ")
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _dataset(content: ReportContent, setting: tuple[str, ...]) -> str:
    dataset, source = setting[:2]
    return formatting.dataset_title(content.manifest.datasets.get(dataset), dataset, source)


def _gain(evidence: Evidence, spec: MetricSpec | None) -> tuple[str, str]:
    """Return the gain and its interval as text."""
    numbers = (evidence.gain, evidence.low, evidence.high)
    gain, low, high = (math.nan if number is None else number for number in numbers)
    if spec is None:
        return formatting.NO_VALUE, formatting.NO_VALUE
    return formatting.difference(gain, low, high, spec)


def _bar(evidence: Evidence, largest: float, band: float) -> Bar | None:
    if evidence.gain is None or evidence.low is None or evidence.high is None:
        return None
    return place_bar(evidence.low, evidence.high, evidence.gain, largest=largest, band=band)


def _largest(evidence: Evidence) -> float:
    ends = [abs(end) for end in (evidence.gain, evidence.low, evidence.high) if end is not None]
    return max((end for end in ends if math.isfinite(end)), default=0.0)


def _points(spec: MetricSpec | None) -> str:
    return " points" if spec is not None and formatting.is_percent(spec) else ""
