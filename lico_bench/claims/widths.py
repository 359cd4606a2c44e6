"""Whether the intervals of claims are narrower than the smallest effect of interest."""

from __future__ import annotations

from collections.abc import Iterable

from lico_bench.claims.comparisons import base_name
from lico_bench.claims.records import ClaimVerdict, Evidence


def wide_intervals(verdicts: Iterable[ClaimVerdict]) -> list[str]:
    """Return a sentence per primary interval whose half-width is not below the smallest effect.

    Primary are the comparisons of `Evidence.family`; in a run of stand-ins alone, those of the
    claims' primary methods.
    """
    sentences = []
    for verdict in verdicts:
        claim = verdict.claim
        real = [item for item in verdict.evidence if item.source != "standin"]
        primary = [item for item in real if item.family == "primary"]
        if not real:
            primary = [item for item in verdict.evidence if _is_primary(item, verdict)]
        for item in primary:
            if item.low is None or item.high is None:
                continue
            width = (item.high - item.low) / 2
            if width >= claim.smallest_effect:
                sentences.append(
                    f"{claim.title} on {item.dataset} is known to ±{width:.3g}, its smallest "
                    f"effect is {claim.smallest_effect:g}"
                )
    return sentences


def _is_primary(item: Evidence, verdict: ClaimVerdict) -> bool:
    return not item.method or base_name(item.method) == verdict.claim.methods[0]
