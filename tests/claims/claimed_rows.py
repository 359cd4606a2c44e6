"""Rows of several arms with known gains, and claims to judge on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lico_bench.claims import Claim, ClaimVerdict, judge_claims
from lico_bench.records import ROW_COLUMNS
from tests.manifests import manifest_from

# Of rows_with: 4 trainings of 60 images with noise 0.02 leave a standard error of about 0.002.
SURE = 0.03
TINY = 0.001
RESAMPLES = 1000  # p-values down to 0.001, enough for the effects used here
METRICS = {
    "insertion": {"higher_is_better": True, "unit": "probability"},
    "deletion": {"higher_is_better": False, "unit": "probability"},
    "pointing_game": {"higher_is_better": True, "unit": "share of hits"},
    "sparseness": {"higher_is_better": None, "unit": "Gini index"},
}
MAPS = Claim(
    id="maps",
    title="Maps",
    statement="The maps are better.",
    source="nobody",
    arm="lico",
    reference_arm="baseline",
    metric="insertion",
    direction="better",
    smallest_effect=0.01,
    methods=("grad_cam", "rise"),
    min_seeds=3,
)
MODEL = replace(
    MAPS, id="model", metric="accuracy", direction="not_worse", smallest_effect=0.02, methods=()
)
CONTROLLED = replace(MAPS, control_map="random_map")


def rows_with(
    gains: dict[str, float],
    *,
    metric: str = "insertion",
    method: str = "grad_cam",
    dataset: str = "cifar10",
    source: str = "real",
    labels: str = "full",
    seeds: int = 4,
    images: int = 60,
    noise: float = 0.02,
    draw: int = 0,
) -> pd.DataFrame:
    """Return rows of each arm of `gains`: 0.5, plus the gain, plus noise per image."""
    rng = np.random.default_rng(draw)
    ease = rng.normal(0, 0.2, images)
    seed, image = np.indices((seeds, images)).reshape(2, -1)
    frames = [
        pd.DataFrame(
            {
                "pair": [f"{dataset}-{labels}-{s}" for s in seed],
                "cell": [f"{dataset}-{labels}-{arm}-{s}" for s in seed],
                "dataset": dataset, "source": source, "backbone": "wrn_10_2", "arm": arm,
                "seed": seed, "labels": labels, "image_id": [f"test/{i:05d}" for i in image],
                "target": image % 50, "correct": True, "method": method, "metric": metric,
                "protocol": "" if method == "" else "rules@1", "flag": "",
                "value": 0.5 + gain + ease[image] + rng.normal(0, noise, seeds * images),
            }
        )[list(ROW_COLUMNS)]
        for arm, gain in gains.items()
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def manifest_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the manifest fields that the verdicts use."""
    return {
        "suite": {
            "datasets": list(rows["dataset"].unique()), "arms": list(rows["arm"].unique()),
            "methods": ["grad_cam"], "metrics": ["insertion"], "seeds": 2,
        },
        "metrics": METRICS,
        "datasets": {
            name: {"class_names": ["a", "b"], "chance": 0.02} for name in rows["dataset"].unique()
        },
    }  # fmt: skip


def with_accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, and for arms without any rows of accuracy, ones of models that learned."""
    has_accuracy = rows["metric"] == "accuracy"
    scored = set(zip(rows.loc[has_accuracy, "dataset"], rows.loc[has_accuracy, "arm"], strict=True))
    first = rows.drop_duplicates(["cell", "image_id"])
    lacks = [(d, a) not in scored for d, a in zip(first["dataset"], first["arm"], strict=True)]
    own = first[lacks].assign(method="", metric="accuracy", protocol="", flag="", value=0.9)
    return pd.concat([rows, own], ignore_index=True)


def verdict_on(claim: Claim, *frames: pd.DataFrame, **more: Any) -> ClaimVerdict:
    """Return the verdict on one claim."""
    rows = with_accuracy(pd.concat(frames, ignore_index=True))
    (verdict,) = judge_claims(
        rows, manifest_from(manifest_of(rows)), [claim], resamples=RESAMPLES, **more
    )
    return verdict


def both(gain: float, **facts: Any) -> pd.DataFrame:
    return rows_with({"baseline": 0.0, "lico": gain}, **facts)


def with_random_map(gain: float, signal: float, confidence: float = 0.0, **facts):
    """Maps `signal` above the random map; both gain `confidence`, the maps `gain` on top."""
    maps = rows_with({"baseline": signal, "lico": signal + gain + confidence}, **facts)
    random = rows_with({"baseline": 0.0, "lico": confidence}, method="random_map", draw=1, **facts)
    return pd.concat([maps, random], ignore_index=True)
