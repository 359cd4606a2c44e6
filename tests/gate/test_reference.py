"""Reference scores: written, read and updated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gated_rows import METRICS, Run, rows_of
from rich.console import Console

from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError, UnknownNameError
from lico_bench.gate import (
    Selection,
    read_reference,
    update_reference,
    update_table,
    write_reference,
)


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


def test_controls_and_descriptions_are_no_reference(tmp_path, values):
    both = pd.concat([rows_of(values), rows_of(values, method="random_map")])
    run = Run(both, methods=("grad_cam", "random_map"))
    assert write_reference(run, tmp_path / "ref.csv")["method"].tolist() == ["grad_cam"]


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


EASE = np.random.default_rng(0).beta(4, 2, 60)


def run_of(shift=0.0, methods=("grad_cam", "rise")):
    return Run(pd.concat([rows_of(EASE + shift, method=name) for name in methods]))


def table_text(update):
    console = Console(width=160, record=True, force_terminal=False)
    console.print(update_table(update))
    return console.export_text()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ref.csv"
    update_reference(run_of(), path)
    return path


def test_the_first_reference_says_how_many_scores_it_has(tmp_path):
    update = update_reference(run_of(), tmp_path / "new.csv")
    assert update.sentence == "0 changed, 2 added, 0 removed, 0 unchanged of 2 scores"
    assert len(read_reference(tmp_path / "new.csv")) == 2


def test_the_same_scores_change_nothing(path):
    before = path.read_bytes()
    update = update_reference(run_of(), path)
    assert update.changes == ()
    assert path.read_bytes() == before


def test_what_moved_came_and_went_is_shown(path):
    update = update_reference(run_of(0.1, methods=("grad_cam", "layer_cam")), path)
    assert update.sentence == "1 changed, 1 added, 1 removed, 0 unchanged of 2 scores"
    text = table_text(update)
    assert "deletion ↓ of grad_cam" in text
    assert "+0.1000, worse" in text
    assert "removed" in text
    assert "added" in text


def test_other_images_and_seeds_are_named(path):
    more = np.concatenate([EASE[:30], EASE[:30] + 0.01])
    both = pd.concat([rows_of(more, method=name, seeds=2) for name in ("grad_cam", "rise")])
    (change, _) = update_reference(Run(both), path).changes
    assert "num_images 60 → 30; num_seeds 1 → 2" in change.others


def test_a_margin_set_by_hand_stays_until_another_is_given(path):
    frame = read_reference(path)
    rule = frame["margin"].tolist()
    frame.assign(margin=[0.123, rule[1]]).to_csv(path, index=False)
    update_reference(run_of(0.1), path)
    assert read_reference(path)["margin"].tolist() == [0.123, rule[1]]
    update_reference(run_of(0.1), path, margin=0.3)
    assert read_reference(path)["margin"].tolist() == [0.3, 0.3]


def test_a_selection_leaves_the_rest_as_it_was(path):
    update = update_reference(run_of(0.1), path, only=Selection(methods=("rise",)))
    assert update.sentence == "1 changed, 0 added, 0 removed, 1 unchanged of 2 scores"
    means = read_reference(path).set_index("method")["mean"]
    assert means["rise"] - means["grad_cam"] == pytest.approx(0.1, abs=2e-6)
    with pytest.raises(UnknownNameError, match="unknown metric in the run 'road'"):
        update_reference(run_of(), path, only=Selection(metrics=("road",)))


def test_scores_that_cannot_fail_are_counted(tmp_path):
    facts = {"deletion": {"higher_is_better": False, "bounds": [0.0, 1.0]}}
    run = Run(rows_of(np.tile([0.0, 1.0], 4)), metrics=facts)
    (note,) = update_reference(run, tmp_path / "ref.csv").notes
    assert note.startswith("1 of 1 scores cannot fail")


@pytest.mark.parametrize("spoil", ["nothing", "write"])
def test_what_fails_half_way_leaves_the_old_reference(path, monkeypatch, spoil):
    before = path.read_bytes()
    if spoil == "nothing":
        with pytest.raises(InvalidInputError):
            update_reference(Run(rows_of(EASE, metric="gini"), metrics=METRICS), path)
    else:

        def fail(*_words):
            raise OSError("disk full")

        monkeypatch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            update_reference(run_of(0.1), path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["ref.csv"]


def test_a_reference_of_another_version_is_replaced_and_a_foreign_file_is_not(path):
    path.write_text(path.read_text().replace("seed_spread", "something"))
    (note,) = update_reference(run_of(), path).notes
    assert "could not be read" in note
    assert len(read_reference(path)) == 2
    path.write_text("name,phone\nme,1\n")
    with pytest.raises(BrokenFileError, match="expected a reference of lico-bench"):
        update_reference(run_of(), path)
    assert path.read_text() == "name,phone\nme,1\n"
