"""A run that asked for the sanity check must pass it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from gated_rows import METRICS, rows_of

from lico_bench.gate import check, write_reference
from tests.manifests import manifest_from

EASE = np.random.default_rng(0).beta(4, 2, 60)


class Run:
    """What the gate reads of a run folder."""

    def __init__(self, endings: dict[str, float]) -> None:
        self._endings = endings

    def manifest(self):
        methods = {
            name: {"title": name, "is_control": name == "edge_map"} for name in self._endings
        }
        return manifest_from({"metrics": {**METRICS, "sanity_check": {}}, "methods": methods})

    def rows(self):
        return rows_of(EASE)

    to_frame = rows

    def curves(self):
        base = {
            "dataset": "cifar10", "source": "real", "backbone": "wrn", "labels": "full",
            "arm": "lico", "protocol": "p", "curve": "cascade",
        }  # fmt: skip
        noise = np.random.default_rng(1).normal(0, 0.02, 40)
        return pd.DataFrame(
            [
                {**base, "method": method, "image_id": str(n), "values": [1.0, end + noise[n]]}
                for method, end in self._endings.items()
                for n in range(40)
            ]
        )


def judged(tmp_path, endings):
    path = tmp_path / "ref.csv"
    write_reference(rows_of(EASE), path, metrics=METRICS, margin=0.08)
    return check(Run(endings), reference=path)


def test_a_method_that_forgets_its_map_passes(tmp_path):
    verdict = judged(tmp_path, {"grad_cam": 0.2})
    assert verdict.exit_code == 0
    assert verdict.judgements[-1].metric == "sanity_check"
    assert "below 0.50" in verdict.judgements[-1].sentence


def test_a_method_that_does_not_need_the_network_fails_the_gate(tmp_path):
    verdict = judged(tmp_path, {"grad_cam": 0.2, "guided": 0.9})
    assert verdict.exit_code == 1
    (failed,) = [one for one in verdict.judgements if one.outcome == "regression"]
    assert failed.method == "guided"
    assert "does not need the network" in failed.sentence


def test_a_control_is_there_to_fail_and_is_not_judged(tmp_path):
    verdict = judged(tmp_path, {"grad_cam": 0.2, "edge_map": 1.0})
    assert verdict.exit_code == 0
    assert {one.method for one in verdict.judgements if one.metric == "sanity_check"} == {
        "grad_cam"
    }
