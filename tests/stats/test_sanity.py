"""Sanity verdicts on cascades with known outcomes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lico_bench.errors import InvalidInputError
from lico_bench.records import CURVE_COLUMNS
from lico_bench.stats.sanity import sanity_verdict, sanity_verdicts


def falling(end: float, *, count: int = 40, spread: float = 0.1, draw: int = 0) -> np.ndarray:
    """(count, 6) cascades from 1 to about `end`."""
    rng = np.random.default_rng(draw)
    line = np.linspace(1, end, 6)[None] + np.zeros((count, 1))
    line[:, 1:] += spread * rng.standard_normal((count, 5))
    return line.clip(-1, 1)


def curve_rows(method: str, cascades: np.ndarray, *, seed: int = 0, curve: str = "cascade"):
    facts = {
        "pair": "p", "cell": "c", "dataset": "cifar10", "source": "standin", "backbone": "wrn",
        "arm": "lico", "seed": seed, "labels": "full", "target": 0, "correct": True,
        "method": method, "protocol": "sanity_check_1@00000000", "curve": curve,
    }  # fmt: skip
    frame = pd.DataFrame([facts] * len(cascades))
    frame["image_id"] = [f"test/{n}" for n in range(len(cascades))]
    frame["fractions"] = [np.linspace(0, 1, cascades.shape[1])] * len(cascades)
    frame["values"] = list(cascades)
    return frame[list(CURVE_COLUMNS)]


@pytest.mark.parametrize(("end", "outcome"), [(0.1, "pass"), (1.0, "fail"), (0.5, "inconclusive")])
def test_map_that_changes_passes_and_map_that_does_not_fails(end: float, outcome: str):
    assert sanity_verdict(falling(end)).outcome == outcome


def test_a_map_turned_around_still_depends_on_the_edges_it_drew():
    cascades = falling(-0.9, spread=0.02)
    assert sanity_verdict(cascades).outcome == "fail"
    assert sanity_verdict(cascades).similarity == pytest.approx(0.9, abs=0.02)


def test_bounds_are_those_of_a_one_sided_test_of_the_mean():
    cascades = falling(0.3)
    verdict = sanity_verdict(cascades)
    final = np.abs(cascades[:, -1])
    error = stats.sem(final)
    assert verdict.similarity == pytest.approx(final.mean())
    assert verdict.high == pytest.approx(stats.norm.ppf(0.95, final.mean(), error))
    assert verdict.low == pytest.approx(stats.norm.ppf(0.05, final.mean(), error))
    assert verdict.num_images == 40
    assert f"{final.mean():.2f} when the network forgets" in verdict.sentence


def test_the_threshold_decides():
    assert sanity_verdict(falling(0.5), threshold=0.8).outcome == "pass"
    assert sanity_verdict(falling(0.5), threshold=0.2).outcome == "fail"


def test_a_single_image_decides_nothing():
    verdict = sanity_verdict(falling(0.0, count=1, spread=0.0))
    assert verdict.outcome == "inconclusive"
    assert "score more images" in verdict.sentence


def test_a_frame_has_a_verdict_per_method_and_images_count_once():
    cascades = falling(0.1)
    frame = pd.concat(
        [
            curve_rows("grad_cam", cascades),
            curve_rows("grad_cam", cascades, seed=1),
            curve_rows("edge_map", np.ones((40, 6))),
            curve_rows("grad_cam", np.zeros((40, 6)), curve="insertion"),
        ]
    )
    verdicts = sanity_verdicts(frame).set_index("method")
    assert verdicts["outcome"].to_dict() == {"edge_map": "fail", "grad_cam": "pass"}
    assert verdicts["num_images"].tolist() == [40, 40]
    assert verdicts.loc["grad_cam", "high"] == pytest.approx(sanity_verdict(cascades).high)


@pytest.mark.parametrize(
    ("cascades", "message"),
    [
        (np.ones(5), "expected \\(N, stages"),
        (np.ones((0, 5)), "expected \\(N, stages"),
        (np.ones((5, 1)), "expected \\(N, stages"),
        (np.full((5, 3), np.nan), "NaN or infinity"),
        (np.zeros((5, 3)), "expected to start at 1"),
    ],
)
def test_what_is_no_cascade_is_refused(cascades: np.ndarray, message: str):
    with pytest.raises(InvalidInputError, match=message):
        sanity_verdict(cascades)


def test_numbers_out_of_range_and_a_run_without_cascades_are_refused():
    for threshold in (0.0, 1.0):
        with pytest.raises(InvalidInputError, match="threshold"):
            sanity_verdict(falling(0.1), threshold=threshold)
    with pytest.raises(InvalidInputError, match="confidence"):
        sanity_verdict(falling(0.1), confidence=0.4)
    with pytest.raises(InvalidInputError, match="add the metric sanity_check"):
        sanity_verdicts(curve_rows("grad_cam", falling(0.1), curve="insertion"))
