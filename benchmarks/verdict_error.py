"""Error and power of the whole procedure behind the verdicts, by simulated runs.

A run has the arms `baseline` and `lico` on five datasets, with accuracy and, for Grad-CAM and a
random map, insertion, deletion and overall; the shipped claims of `lico` against `baseline` are
judged. Networks have 10 classes and 70 % accuracy, maps score 0.2 above the random map. A gain is
added to every training of `lico`, to maps on every dataset.

Printed for each setting: the share of runs in which any of the four claims of a gain is called an
improvement or harm (without a gain: the family-wise error, declared 5 %), the shares of each
verdict for overall, and how often a gain equal to the smallest effect is called equivalent or ruled
out (an error, declared 5 %).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from lico_bench.claims import ClaimVerdict, judge_claims, read_claims
from lico_bench.metrics import METRICS
from lico_bench.records import ROW_COLUMNS
from lico_bench.store.run_records import DatasetFacts, Manifest, SuiteRecord

DATASETS = ("cifar10", "cifar100", "svhn", "flowers", "cars")
CLAIMS = ("accuracy_all_labels", "insertion", "deletion", "overall")
SIGNAL, ACCURACY, CLASSES = 0.2, 0.7, 10
IMAGE_SD, BOTH_SD = 0.2, 0.05  # of an image in both arms, and of one image in one training
MAPS = (("insertion", 1.0), ("deletion", -1.0), ("overall", 1.0))


def main() -> None:
    """Simulate and print one line per setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--seed-sd", type=float, nargs="+", default=[0.0, 0.01, 0.03])
    parser.add_argument("--gains", type=float, nargs="+", default=[0.0, 0.02, 0.04, 0.08])
    args = parser.parse_args()
    claims = [replace(c, control_arms=()) for c in read_claims() if c.id in CLAIMS]
    for seeds in args.seeds:
        for seed_sd in args.seed_sd:
            for gain in args.gains:
                generator = np.random.default_rng([seeds, int(1000 * seed_sd), int(1000 * gain)])
                found = []
                for _ in range(args.runs):
                    rows = draw_run(generator, seeds, args.images, seed_sd, gain)
                    found.append(judge_claims(rows, MANIFEST, claims, resamples=100))
                print(
                    f"{seeds:2} seeds, sd {seed_sd:5}, gain {gain:5}: {summary(found)}", flush=True
                )


def summary(found: Iterable[tuple[ClaimVerdict, ...]]) -> str:
    """Return the shares of runs with any decision, and of the outcomes of `overall`."""
    runs = list(found)
    decided = [any(v.outcome in ("improvement", "harm") for v in run) for run in runs]
    overall = Counter(v.outcome for run in runs for v in run if v.claim.id == "overall")
    shares = ", ".join(f"{name} {count / len(runs):.1%}" for name, count in overall.most_common())
    return f"any improvement or harm {np.mean(decided):.1%}; overall: {shares}"


def draw_run(
    generator: np.random.Generator, seeds: int, images: int, seed_sd: float, gain: float
) -> pd.DataFrame:
    """Draw the rows of a run; `gain` is that of overall on every dataset."""
    frames = []
    for dataset in DATASETS:
        for metric, sign in MAPS:
            size = gain if metric == "overall" else gain / 2
            spread = seed_sd if metric == "overall" else seed_sd / 2
            ease = generator.normal(0, IMAGE_SD, images)
            for method, signal in (("grad_cam", SIGNAL), ("random_map", 0.0)):
                for arm, effect in (("baseline", 0.0), ("lico", size if signal else 0.0)):
                    trainings = generator.normal(0, spread / np.sqrt(2), (seeds, 1))
                    noise = generator.normal(0, BOTH_SD, (seeds, images))
                    values = ease + noise + sign * (signal + effect + trainings * bool(signal))
                    frames.append(_rows(dataset, arm, method, metric, values))
        for arm in ("baseline", "lico"):
            trainings = generator.normal(ACCURACY, seed_sd / np.sqrt(2), (seeds, 1))
            hits = (generator.random((seeds, images)) < trainings).astype(float)
            frames.append(_rows(dataset, arm, "", "accuracy", hits))
    return pd.concat(frames, ignore_index=True)


def _rows(dataset: str, arm: str, method: str, metric: str, values: np.ndarray) -> pd.DataFrame:
    seed, image = np.indices(values.shape).reshape(2, -1)
    return pd.DataFrame(
        {
            "pair": [f"{dataset}-{s}" for s in seed],
            "cell": [f"{dataset}-{arm}-{s}" for s in seed],
            "dataset": dataset, "source": "real", "backbone": "wrn_10_2", "arm": arm, "seed": seed,
            "labels": "full", "image_id": [f"test/{i:05d}" for i in image],
            "target": image % CLASSES, "correct": values.ravel() > 0.5 if not method else True,
            "method": method, "metric": metric, "protocol": "rules@1" if method else "",
            "value": values.ravel(), "flag": "",
        }
    )[list(ROW_COLUMNS)]  # fmt: skip


def _facts(name: str) -> DatasetFacts:
    names = tuple(f"class {number}" for number in range(CLASSES))
    return DatasetFacts(
        name=name, title=name, source="real", found={"train": (1, 1), "test": (1, 1)},
        class_names=names, prompt_names=names, image_size=(32, 32), has_regions=False, notes=(),
        fingerprint="simulated", chance=1 / CLASSES,
    )  # fmt: skip


MANIFEST = Manifest(
    suite_key="", suite=SuiteRecord(datasets=DATASETS, arms=("baseline", "lico")), cells=(),
    datasets={name: _facts(name) for name in DATASETS},
    metrics={name: METRICS[name].spec for name, _ in MAPS},
)  # fmt: skip


if __name__ == "__main__":
    main()
