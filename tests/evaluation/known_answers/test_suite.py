"""All checks together, and an entry that raises."""

from __future__ import annotations

import pytest

from lico_bench.evaluation.known_answers import Finding, findings_of, self_check
from lico_bench.evaluation.known_answers.finding import REASONS, kind_of
from lico_bench.metrics import METRICS
from tests.evaluation.known_answers.checked import described, metric_of


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variant", ["planted_cue", "plain"])
def test_everything_passes_on_more_scenes_and_other_networks(variant: str, seed: int):
    result = self_check(variant=variant, seed=seed)
    assert not described(list(result.findings), "FAIL")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_declared_reason_is_needed():
    met: set[tuple[str, str]] = set()
    for finding in self_check().findings:
        if finding.verdict == "known":
            met |= {
                (finding.subject, finding.check),
                (finding.detail.split(" ")[0], where(finding)),
            }
    assert not {key for key in REASONS if key not in met}


def where(finding: Finding) -> str:
    """The metric of a finding, or its category if reasons are declared for the category."""
    if finding.subject not in METRICS:
        return ""
    kind = kind_of(METRICS[finding.subject].spec)
    return kind if any(what == kind for _, what in REASONS) else finding.subject


def test_an_entry_that_raises_fails_and_its_words_are_kept(scene, monkeypatch):
    def broken(_inputs):
        raise ZeroDivisionError("no pixels\nat all")

    monkeypatch.setitem(METRICS._entries, "wrong", metric_of(broken))
    (finding,) = findings_of("wrong", scene)
    assert (finding.check, finding.verdict) == ("runs", "FAIL")
    assert finding.detail == "ZeroDivisionError: no pixels"
