"""Runs joined as trainings of one run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gated_rows import Run, rows_of

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.gate import join_trainings, write_reference

EASE = np.random.default_rng(0).beta(4, 2, 40)


def run_at(path, shift=0.0, *, seeds=1, **facts):
    run = Run(rows_of(np.tile(EASE + shift, seeds), seeds=seeds), **facts)
    run.path = Path(path)
    return run


def test_a_single_run_is_itself():
    run = run_at("a")
    assert join_trainings([run]) is run


def test_each_run_is_another_training(tmp_path):
    joined = join_trainings([run_at("a"), run_at("b", 0.1), run_at("c", 0.3, seeds=2)])
    assert joined.rows().groupby("seed")["value"].mean().sub(EASE.mean()).tolist() == (
        pytest.approx([0.0, 0.1, 0.3, 0.3])
    )
    (row,) = write_reference(joined, tmp_path / "ref.csv").to_dict("records")
    assert row["num_seeds"] == 4
    assert row["seed_spread"] == pytest.approx(np.std([0.0, 0.1, 0.3, 0.3], ddof=1), abs=1e-6)


def test_the_same_run_twice_is_no_other_training():
    with pytest.raises(InvalidInputError, match="got one twice"):
        join_trainings([run_at("a"), run_at("./a")])


def test_trainings_on_other_images_are_not_joined():
    with pytest.raises(NotComparableError, match="cifar10: a and b used different images"):
        join_trainings([run_at("a"), run_at("b", images="ffff")])
