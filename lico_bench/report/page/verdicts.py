"""The verdicts on the declared claims, and the evidence for each, as the page shows them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from lico_bench.claims import Claim, ClaimVerdict, Evidence
from lico_bench.records import MetricSpec
from lico_bench.report import formatting
from lico_bench.report.content import ReportContent
from lico_bench.report.page.anchors import Anchors
from lico_bench.report.page.lines import Bar, place_bar

# Sign and word of each outcome: neither the colour nor the sign stands alone.
OUTCOMES = {
    "supported": ("✔", "Supported"),
    "contradicted": ("✘", "Contradicted"),
    "equivalent": ("≈", "Equivalent"),
    "inconclusive": ("?", "Inconclusive"),
    "not_tested": ("○", "Not tested"),
}


def verdict_cards(content: ReportContent, anchors: Anchors) -> list[dict[str, Any]]:
    """One entry per claim, in the order in which they are declared."""
    return [_card(content, anchors, verdict) for verdict in content.claims]


def count_outcomes(content: ReportContent) -> list[dict[str, Any]]:
    """How many claims have each outcome; outcomes that no claim has are left out."""
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
    """What was declared before the run: who is compared, on what, and what would matter."""
    score = claim.metric.replace("_", " ") if spec is None else formatting.title_with_arrow(spec)
    size = _gain(claim.smallest_effect, spec).lstrip("+")
    arms = f"{content.arm_title(claim.arm)} against {content.arm_title(claim.reference_arm)}"
    wanted = "not worse by more than" if claim.direction == "not_worse" else "better; matters from"
    return f"{arms} on {score}: {wanted} {size}{_points(spec)}."


def _evidence(
    content: ReportContent, anchors: Anchors, verdict: ClaimVerdict, spec: MetricSpec | None
) -> Iterator[dict[str, Any]]:
    band = verdict.claim.smallest_effect
    reach = max([band, *(_farthest(one) for one in verdict.evidence)])
    for one in verdict.evidence:
        setting = (one.dataset, one.source, one.backbone, one.labels)
        yield {
            **_outcome(one.outcome),
            "dataset": _dataset(content, setting),
            "is_standin": one.source == "standin",
            "backbone": one.backbone,
            "labels": one.labels,
            "method": content.method_title(one.method),
            "sentence": _sentence(one.sentence, one.outcome),
            "gain": formatting.NOTHING if one.gain is None else _gain(one.gain, spec),
            "interval": _interval(one, spec),
            "bar": _bar(one, reach, band),
            "p_holm": _p_value(one.p_holm),
            "p_equivalent": _p_value(one.p_equivalent),
            "num_images": one.num_images,
            "num_seeds": one.num_seeds,
            "protocol": one.protocol,
            "rules": anchors.rules(one.protocol, verdict.claim.metric),
            "models": anchors.models(setting),
        }


def _p_value(number: float | None) -> str:
    return formatting.NOTHING if number is None else formatting.p_value(number)


def _sentence(sentence: str, outcome: str) -> str:
    """Without the outcome that stands beside it already, and ended as a sentence is."""
    message = sentence.removeprefix(outcome.replace("_", " ") + ": ")
    return f"{message[:1].upper()}{message[1:].rstrip('.')}."


def _dataset(content: ReportContent, setting: tuple[str, ...]) -> str:
    dataset, source = setting[:2]
    return formatting.dataset_title(
        content.manifest.get("datasets", {}).get(dataset), dataset, source
    )


def _interval(one: Evidence, spec: MetricSpec | None) -> str:
    if one.gain is None or one.low is None or one.high is None:
        return ""
    is_fine = formatting.is_tiny(one.gain, one.low, one.high)
    return f"[{_gain(one.low, spec, is_fine=is_fine)}, {_gain(one.high, spec, is_fine=is_fine)}]"


def _bar(one: Evidence, reach: float, band: float) -> Bar | None:
    if one.gain is None or one.low is None or one.high is None:
        return None
    return place_bar(one.low, one.high, one.gain, reach=reach, band=band)


def _farthest(one: Evidence) -> float:
    ends = [abs(end) for end in (one.gain, one.low, one.high) if end is not None]
    return max((end for end in ends if math.isfinite(end)), default=0.0)


def _gain(number: float, spec: MetricSpec | None, *, is_fine: bool = False) -> str:
    """A difference in the metric's digits; a metric that the run does not have is told plainly."""
    if spec is not None:
        return formatting.signed(number, spec, is_fine=is_fine)
    return f"{number:+.3g}".replace("-", formatting.MINUS)


def _points(spec: MetricSpec | None) -> str:
    return " points" if spec is not None and formatting.is_percent(spec) else ""
