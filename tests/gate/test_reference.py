from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gated_rows import METRICS, Run, rows_of

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.gate import read_reference, write_reference
from lico_bench.gate.reference import make_reference


@pytest.fixture
def values():
    return np.random.default_rng(0).random(200)


def test_written_reference_reads_back_the_same(tmp_path, values):
    written = write_reference(rows_of(values), tmp_path / "ref.csv", metrics=METRICS)
    read = read_reference(tmp_path / "ref.csv")
    assert read["mean"].tolist() == pytest.approx(written["mean"].tolist(), abs=1e-6)
    assert read["image_error"].iloc[0] == pytest.approx(values.std(ddof=1) / 200**0.5, abs=1e-6)
    assert read["seed_spread"].isna().all()
    assert read["higher_is_better"].tolist() == [False]
    assert read["num_images"].tolist() == [200]
    assert read["protocol"].tolist() == ["lico_bench_1@0"]


def test_seed_spread_is_the_deviation_between_the_means_of_trainings(tmp_path, values):
    apart = np.concatenate([values, values + 0.1, values + 0.4])
    write_reference(rows_of(apart, seeds=3), tmp_path / "ref.csv", metrics=METRICS)
    (spread,) = read_reference(tmp_path / "ref.csv")["seed_spread"]
    assert spread == pytest.approx(np.std([0.0, 0.1, 0.4], ddof=1), abs=1e-6)


def test_controls_and_descriptions_are_no_reference(values):
    both = pd.concat([rows_of(values), rows_of(values, method="random_map")])
    run = Run(both, methods=("grad_cam", "random_map"))
    assert make_reference(run)["method"].tolist() == ["grad_cam"]


def test_default_margin_is_never_below_two_hundredths(tmp_path):
    written = write_reference(rows_of(np.full(50, 0.5)), tmp_path / "ref.csv", metrics=METRICS)
    assert written["margin"].tolist() == [0.02]


def test_margin_can_be_given(tmp_path, values):
    written = write_reference(rows_of(values), tmp_path / "r.csv", metrics=METRICS, margin=0.3)
    assert written["margin"].tolist() == [0.3]


def test_metric_without_merit_is_left_out(tmp_path, values):
    both = pd.concat([rows_of(values), rows_of(values, metric="gini")])
    written = write_reference(both, tmp_path / "ref.csv", metrics=METRICS)
    assert written["metric"].tolist() == ["deletion"]


def test_accuracy_needs_no_declared_direction(tmp_path, values):
    accuracy = rows_of((values > 0.3).astype(float), metric="accuracy", method="", protocol="")
    written = write_reference(accuracy, tmp_path / "ref.csv")
    assert written["higher_is_better"].tolist() == [True]
    assert read_reference(tmp_path / "ref.csv")["method"].tolist() == [""]


def test_run_folder_brings_its_own_directions(tmp_path, values):
    assert len(write_reference(Run(rows_of(values)), tmp_path / "ref.csv")) == 1


def test_metric_of_unknown_direction_is_refused(tmp_path, values):
    with pytest.raises(InvalidInputError, match="got none for deletion"):
        write_reference(rows_of(values), tmp_path / "ref.csv")
    assert not (tmp_path / "ref.csv").exists()


def test_nothing_to_judge_by_is_refused(tmp_path, values):
    with pytest.raises(InvalidInputError, match="metric with a direction"):
        write_reference(rows_of(values, metric="gini"), tmp_path / "ref.csv", metrics=METRICS)


def test_missing_reference_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"no such reference file: .*nothing\.csv"):
        read_reference(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text: "", "not readable as CSV"),
        (lambda text: "a,b\n1,2\n", "columns missing: dataset"),
        (lambda text: text.splitlines()[0] + "\n", "at least one reference score"),
        (lambda text: text.replace(",False,", ",perhaps,"), "expected True or False"),
        (lambda text: text.replace(",200,", ",many,"), "num_images: expected a number, got 'many'"),
        (lambda text: text + text.splitlines()[1] + "\n", "one row per score, got two"),
        (lambda text: text.replace(",200,1", ",200,3"), "seed_spread: expected a number, got ''"),
        (lambda text: text.replace("image_error,", "standard_error,"), "write a new one with"),
        (lambda text: text[: len(text) // 2 + 40], "expected"),
        (lambda text: '"' + text, "not readable as CSV|columns missing"),
    ],
)
def test_garbled_reference_is_an_error_that_names_the_file(tmp_path, values, spoil, words):
    path = tmp_path / "ref.csv"
    write_reference(rows_of(values), path, metrics=METRICS)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(BrokenFileError, match=words) as caught:
        read_reference(path)
    assert "ref.csv" in str(caught.value)


def test_bytes_that_are_no_text_are_a_broken_reference(tmp_path):
    path = tmp_path / "ref.csv"
    path.write_bytes(b"\xff\xfe\x00\x01" * 20)
    with pytest.raises(BrokenFileError, match="not readable as CSV"):
        read_reference(path)
