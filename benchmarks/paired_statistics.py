"""Time and memory of the paired statistics, and their calibration on simulated experiments.

Speed: 10,000 draws over 5 seeds, 10,000 images and 50 columns, intervals and all p-values. Each
measurement runs in a separate process; its peak memory includes interpreter and imports. Limits: 20
s and 2 GB from arrays. The figures from rows (5 million, both arms) are for information.

`--calibration` simulates experiments without effect and prints, for each noise, the coverage of 95
% intervals, the share of p-values at or below 0.01, 0.05 and 0.1, and the share of equivalence
tests at 0.05 that are passed by an effect equal to the smallest effect of interest.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from lico_bench.records import ROW_COLUMNS
from lico_bench.stats import paired_differences, two_level
from lico_bench.stats.paired import standardised_effect
from lico_bench.stats.significance import are_hits, crossed_tests, mcnemar_exact, sign_flip_test

BAR_S, BAR_GB = 20.0, 2.0
MARGIN = 0.01
TRIALS_AT_ONCE = 250
# Standard deviations of the effects of seeds, of images, and of their interaction.
NOISES = [
    (seeds, images, both)
    for images, both in ((1.0, 0.2), (0.6, 0.6), (0.3, 1.0))
    for seeds in (0.0, 0.03, 0.1, 0.2, 0.5)
]


def drawn_scores(args: argparse.Namespace) -> np.ndarray:
    """Draw scores (A, S, I, C) of two arms; every fifth column is binary."""
    generator = np.random.default_rng(0)
    values = generator.random((2, args.seeds, args.images, args.columns))
    values[..., ::5] = values[..., ::5] < 0.5
    return values


def from_arrays(args: argparse.Namespace) -> float:
    """Return the seconds of all computations of `paired_differences`."""
    ours, theirs = drawn_scores(args)
    started = time.perf_counter()
    differences = theirs - ours
    two_level(differences, resamples=args.resamples)
    crossed_tests(differences, hits=are_hits(ours, theirs))
    sign_flip_test(differences, resamples=args.resamples)
    mcnemar_exact(ours, theirs)
    standardised_effect(differences)
    return time.perf_counter() - started


def from_rows(args: argparse.Namespace) -> float:
    """Return the seconds of `paired_differences` on a data frame."""
    rows = _as_rows(drawn_scores(args))
    effects = dict.fromkeys(rows["metric"].cat.categories, MARGIN)
    started = time.perf_counter()
    found = paired_differences(rows, smallest_effects=effects, resamples=args.resamples)
    assert len(found) == args.columns
    return time.perf_counter() - started


def _as_rows(scores: np.ndarray) -> pd.DataFrame:
    """Convert to rows as read from Parquet, with text as categories."""
    arms, seeds, images, columns = np.indices(scores.shape, dtype=np.int32).reshape(4, -1)

    def category(codes: np.ndarray, names: list[str]) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, names)

    facts = {
        "pair": category(seeds, [f"pair-{s}" for s in range(scores.shape[1])]),
        "cell": category(arms * scores.shape[1] + seeds, [
            f"{arm}-{s}" for arm in ("baseline", "lico") for s in range(scores.shape[1])
        ]),
        "arm": category(arms, ["baseline", "lico"]),
        "seed": seeds,
        "image_id": category(images, [f"test/{i:05d}" for i in range(scores.shape[2])]),
        "metric": category(columns, [f"metric_{c}" for c in range(scores.shape[3])]),
        "target": np.zeros(len(arms), dtype=np.int32),
        "correct": np.ones(len(arms), dtype=bool),
        "value": scores.ravel(),
    }  # fmt: skip
    always = {
        "dataset": "cifar10", "source": "real", "backbone": "wrn_10_2", "labels": "full",
        "method": "grad_cam", "protocol": "lico_bench_1@1a2b3c4d", "flag": "",
    }  # fmt: skip
    nothing = np.zeros(len(arms), dtype=np.int8)
    facts |= {name: category(nothing, [value]) for name, value in always.items()}
    return pd.DataFrame(facts)[list(ROW_COLUMNS)]


def calibration(args: argparse.Namespace) -> None:
    """Print one line for each number of seeds and images, and each noise."""
    print(
        "seeds images kind    noise (seeds, images, both)  cover  p<=.01 p<=.05 p<=.10  equivalent"
    )
    for num_seeds in (5, 3, 2, 1):
        for num_images in (20, 100, 500):
            for kind in ("normal", "skewed"):
                ends: list[float] = []
                for noise in NOISES if num_seeds > 1 else [n for n in NOISES if n[0] == 0]:
                    shares = _simulate(num_seeds, num_images, kind, noise, args.trials)
                    cover, one, five, ten, equivalent = shares
                    ends.append(cover)
                    print(
                        f"{num_seeds:5} {num_images:6} {kind:7} {noise!s:28} {cover:.3f}  "
                        f"{one:.3f}  {five:.3f}  {ten:.3f}   {equivalent:.3f}",
                        flush=True,
                    )
                print(
                    f"{num_seeds} seeds, {num_images} {kind} images: intervals cover "
                    f"{min(ends):.1%} to {max(ends):.1%}"
                )


def _simulate(
    num_seeds: int, num_images: int, kind: str, noise: tuple[float, float, float], trials: int
) -> np.ndarray:
    """Return shares: coverage, p at or below 0.01, 0.05, 0.1, false equivalence."""
    of_seeds, of_images, of_both = noise
    generator = np.random.default_rng([num_seeds, num_images, *(int(100 * sd) for sd in noise)])
    error = np.sqrt(of_seeds**2 / num_seeds + (of_images**2 + of_both**2 / num_seeds) / num_images)
    # Far enough from zero that only one of the two one-sided tests can fail.
    margins = np.full(TRIALS_AT_ONCE, 4 * error)

    def drawn(num: int) -> np.ndarray:
        size = (num, num_images, TRIALS_AT_ONCE)
        return (
            generator.normal(size=size)
            if kind == "normal"
            else generator.exponential(size=size) - 1
        )

    shares = []
    for start in range(0, trials, TRIALS_AT_ONCE):
        values = of_seeds * generator.normal(size=(num_seeds, 1, TRIALS_AT_ONCE))
        values = values + of_images * drawn(1) + of_both * drawn(num_seeds)
        found = two_level(values, resamples=1000, seed=start)
        p_value = crossed_tests(values).p_value
        edge = crossed_tests(values + margins).p_equivalent(margins)
        held = [(found.low <= 0) & (found.high >= 0)]
        held += [p_value <= level for level in (0.01, 0.05, 0.1)]
        shares.append(np.mean([*held, edge <= 0.05], axis=1))
    return np.mean(shares, axis=0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--columns", type=int, default=50)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=2000, help="of each calibration setting")
    parser.add_argument("--calibration", action="store_true")
    parser.add_argument("--only", choices=["arrays", "rows"], help="measure in this process")
    args = parser.parse_args()
    if args.calibration:
        calibration(args)
        return
    if args.only:
        measure = from_arrays if args.only == "arrays" else from_rows
        seconds = statistics.median(measure(args) for _ in range(args.rounds))
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)  # KiB
        return
    print(
        f"{args.resamples} draws, {args.seeds} seeds, {args.images} images, "
        f"{args.columns} columns, median of {args.rounds}"
    )
    missed = False
    for name in ("arrays", "rows"):
        message = subprocess.run(
            [sys.executable, *sys.argv, "--only", name], check=True, capture_output=True, text=True
        )
        seconds, gigabytes = map(float, message.stdout.split())
        print(f"from {name:6} {seconds:6.2f} s  peak {gigabytes:.2f} GB")
        missed |= name == "arrays" and (seconds > BAR_S or gigabytes > BAR_GB)
    sys.exit(missed)


if __name__ == "__main__":
    main()
