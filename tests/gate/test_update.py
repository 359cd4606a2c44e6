from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from gated_rows import METRICS, Run, rows_of
from rich.console import Console

from lico_bench.errors import BrokenFileError, InvalidInputError, UnknownNameError
from lico_bench.gate import Selection, read_reference, update_reference, update_table

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
