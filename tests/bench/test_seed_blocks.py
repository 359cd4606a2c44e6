"""Seeds are trained in blocks until the intervals of the claims are narrow enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lico_bench.bench import ExecutorOptions, Suite, make_plan
from lico_bench.bench.seed_blocks import execute_until_width
from lico_bench.claims import wide_intervals
from lico_bench.claims.records import Evidence
from lico_bench.errors import InvalidInputError
from tests.claims.claimed_rows import MAPS, rows_with, verdict_on

SUITE = Suite(
    ("cifar10",), arms=("baseline", "lico"), profile="smoke", data="standin", seeds=6, limit=2,
    methods=("grad_cam", "random_map"), metrics=("insertion",),
    changes={"train_limit": 200, "epochs": 2, "batch_size": 20, "text_encoder": "random"},
)  # fmt: skip
OPTIONS = {"options": ExecutorOptions(device="cpu")}


def verdict(noise: float, **facts):
    return verdict_on(MAPS, rows_with({"baseline": 0.0, "lico": 0.02}, noise=noise, **facts))


@pytest.mark.parametrize("source", ["real", "standin"])
def test_an_interval_is_wide_until_it_is_narrower_than_the_smallest_effect(source):
    assert wide_intervals([verdict(0.02, source=source)]) == []
    (sentence,) = wide_intervals([verdict(0.2, source=source)])
    assert sentence.startswith("Maps on cifar10 is known to ±0.0")
    assert sentence.endswith("its smallest effect is 0.01")


def test_only_the_width_counts_and_only_of_primary_comparisons():
    narrow = verdict(0.02)
    (evidence,) = narrow.evidence
    for gain in (-1.0, 0.0, 1.0):
        moved = replace(evidence, gain=gain, low=gain - 0.005, high=gain + 0.005)
        assert wide_intervals([replace(narrow, evidence=(moved,))]) == []
    further: Evidence = replace(evidence, family="exploratory", low=-1.0, high=1.0)
    assert wide_intervals([replace(narrow, evidence=(evidence, further))]) == []


@pytest.mark.slow
def test_seeds_are_added_in_blocks_up_to_the_most_and_the_run_can_be_completed(reporter):
    plan = make_plan(SUITE, device="cpu")
    run = execute_until_width(plan, Path("run"), reporter=reporter, **OPTIONS)
    notes = [note for note in reporter.of("note") if "trainings per arm" in str(note)]
    # Accuracies of short trainings differ by more than half a point: blocks of 3, 5 and 6 seeds.
    assert [str(note).split("trainings")[0].rstrip().split()[-1][-1] for note in notes] == list(
        "356"
    )
    assert len(run.finished()) == 12


@pytest.mark.slow
def test_a_narrow_run_stops_after_the_first_block(reporter, monkeypatch):
    monkeypatch.setattr("lico_bench.bench.seed_blocks.wide_intervals", lambda verdicts: [])
    plan = make_plan(SUITE, device="cpu")
    run = execute_until_width(plan, Path("run"), reporter=reporter, **OPTIONS)
    assert {cell.recipe.seed for cell in run.manifest().cells} == set(range(6))
    assert len(run.finished()) == 6


def test_fewer_seeds_than_a_claim_needs_are_refused(reporter):
    plan = make_plan(replace(SUITE, seeds=2), device="cpu")
    with pytest.raises(
        InvalidInputError, match="need 3 trainings per arm, the suite has at most 2"
    ):
        execute_until_width(plan, Path("run"), reporter=reporter, **OPTIONS)
    assert not Path("run").exists()
