"""Error rates of paired tests of a difference between two arms that do not differ on average.

Every seed is a pair of trainings, both tested on the same images. The difference of seed s on image
i is d_s + x_si. The true difference d_s of a seed has mean 0; its standard deviation is 0, 0.5 or 2
times sigma / sqrt(I), the standard error of one seed's mean due to the images (standard deviation
sigma). `shared` is the correlation of x_si between the seeds. Scores are continuous (normal
differences) or hits (differences -1, 0 and 1). The tests:

    package    `p_value` of `paired_differences`, of `crossed_tests`: the larger of the next two
    seeds      Student's t of the seeds' means, S - 1 degrees of freedom
    crossed    mean / sqrt(V), V = (MS_seeds - MS_rest) / (S I) + MS_images / (S I), and degrees of
               freedom V^2 / sum_k (MS_k / (S I))^2 / df_k; a negative variance between seeds is 0
    negative   the same, a negative variance between seeds is kept, and V <= 0 is no error

The last three are computed here from their definitions. A star marks a rate above 1.5 times the
level. The exit status is 1 if `package` has a star.

Source: Satterthwaite, Biometrics Bulletin 1946 (degrees of freedom).
"""

from __future__ import annotations

import argparse
import itertools
import sys

import numpy as np
from scipy.special import stdtr

from lico_bench.stats.significance import crossed_tests

LEVELS = (0.05, 0.0005)
BAR = 1.5
TRIALS_AT_ONCE = 500
KINDS = ("continuous", "hits")
SEED_SDS = (0.0, 0.5, 2.0)  # in standard errors of the image mean
SHARED = (0.0, 0.5)
DISCORDANT = 0.4  # share of images on which the arms differ, for hits
TESTS = ("package", "seeds", "crossed", "negative")


def draw_differences(
    generator: np.random.Generator, *, shape: tuple[int, int, int], kind: str, seed_sd: float,
    shared: float,
) -> np.ndarray:  # fmt: skip
    """Draw differences (S, I, C) with mean 0."""
    num_seeds, num_images, num_trials = shape
    spread = np.sqrt(DISCORDANT) if kind == "hits" else 1.0
    true = generator.normal(0, seed_sd * spread / np.sqrt(num_images), (num_seeds, 1, num_trials))
    common = (1, num_images, num_trials)
    if kind == "continuous":
        noise = np.sqrt(1 - shared) * generator.normal(size=shape)
        return true + noise + np.sqrt(shared) * generator.normal(size=common)
    is_common = generator.random(common) < shared
    ranks = np.where(is_common, generator.random(common), generator.random(shape))
    shift = np.clip(true, -DISCORDANT, DISCORDANT)  # symmetric, so that the mean stays 0
    won, lost = (DISCORDANT + shift) / 2, (DISCORDANT - shift) / 2
    return (ranks < won).astype(float) - (ranks >= 1 - lost)


def p_values(differences: np.ndarray, *, are_hits: bool) -> np.ndarray:
    """Return the p-values of the tests, (4, C)."""
    num_seeds, num_images, num_columns = differences.shape
    package = crossed_tests(differences, hits=np.full(num_columns, are_hits))
    by_seed, by_image = differences.mean(1), differences.mean(0)
    mean = by_seed.mean(0)
    rest = differences - by_seed[:, None] - by_image + mean
    freedom = np.array([num_seeds - 1, num_images - 1, (num_seeds - 1) * (num_images - 1)])
    # Mean squares divided by S I: the share of each level in the variance of the mean.
    parts = np.stack(
        [
            by_seed.var(0, ddof=1) / num_seeds,
            by_image.var(0, ddof=1) / num_images,
            (rest**2).sum((0, 1)) / (freedom[2] * num_seeds * num_images),
        ]
    )
    squares = parts**2 / freedom[:, None]
    variance = parts[0] + parts[1] - parts[2]
    is_negative = parts[0] < parts[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = variance**2 / squares.sum(0)
    truncated = student_p(
        mean,
        np.where(is_negative, parts[1], variance),
        np.where(is_negative, freedom[1], effective),
    )
    return np.stack(
        [
            package.p_value,
            student_p(mean, parts[0], freedom[0]),
            truncated,
            student_p(mean, variance, effective),
        ]
    )


def student_p(
    mean: np.ndarray, variance: np.ndarray, freedom: np.ndarray | np.integer
) -> np.ndarray:
    """Return two-sided p-values; 1 where the variance is not positive."""
    is_positive = variance > 0
    statistic = np.abs(mean) / np.sqrt(np.where(is_positive, variance, 1.0))
    return np.where(is_positive, 2 * stdtr(freedom, -statistic), 1.0)


def main() -> None:
    """Simulate and print one line for each setting."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20_000, help="experiments of each setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, nargs="+", default=[3, 5, 10], help="numbers of seeds")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--images", type=int, default=100)
    args = parser.parse_args()
    titles = [f"{test} {level:g}" for level in LEVELS for test in TESTS]
    print("seeds scores     seed sd  shared", *(f"{title:>17}" for title in titles))
    missed = False
    for setting in itertools.product(args.pairs, args.kinds, SEED_SDS, SHARED):
        num_seeds, kind, seed_sd, shared = setting
        generator = np.random.default_rng([args.seed, num_seeds, KINDS.index(kind)])
        errors = np.zeros((len(LEVELS), len(TESTS)))
        for start in range(0, args.trials, TRIALS_AT_ONCE):
            shape = (num_seeds, args.images, min(TRIALS_AT_ONCE, args.trials - start))
            values = draw_differences(
                generator, shape=shape, kind=kind, seed_sd=seed_sd, shared=shared
            )
            found = p_values(values, are_hits=kind == "hits")
            errors += [(found <= level).sum(1) for level in LEVELS]
        rates = errors / args.trials
        is_above = rates > BAR * np.array(LEVELS)[:, None]
        missed |= bool(is_above[:, 0].any())
        cells = [f"{rate:16.5f}{'*' if above else ' '}" for rate, above in
                 zip(rates.ravel(), is_above.ravel(), strict=True)]  # fmt: skip
        print(f"{num_seeds:5} {kind:10} {seed_sd:7} {shared:7}", *cells, flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main()
