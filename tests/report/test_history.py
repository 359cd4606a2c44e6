"""Several runs beside each other."""

from __future__ import annotations

import pandas as pd
import pytest

from lico_bench.errors import InvalidInputError, NotComparableError
from lico_bench.report.history import RUN_SERIES, gather_history
from lico_bench.stats import arm_means
from lico_bench.store import RunFolder, read_json
from tests.report.dated_runs import dated
from tests.report.fake_run import make_run


@pytest.mark.slow
def test_runs_come_in_the_order_of_their_start_with_the_means_of_the_statistics_room(history, runs):
    assert [run.name for run in history.runs] == ["run1", "run2", "run3"]
    found = history.means[history.means["run"] == "run2"].set_index(list(RUN_SERIES))["mean"]
    expected = arm_means(runs[1].rows()).set_index(list(RUN_SERIES))["mean"]
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index())


@pytest.mark.slow
def test_other_images_and_other_training_are_told(tmp_path, runs):
    other = make_run(
        tmp_path / "other", datasets={"cub200": "standin"}, num_test=30, num_explained=10
    )
    manifest = read_json(other.manifest_path)
    manifest["datasets"]["cub200"]["fingerprint"] = "ffff"
    for cell in manifest["cells"]:
        cell["recipe"]["epochs"] = 99
    dated(other, 9, datasets=manifest["datasets"], cells=manifest["cells"])
    notes = " ".join(gather_history([runs[0], other]).notes)
    assert "images of cub200 (standin) are not the same in all runs" in notes
    assert "epochs is 15 in run1; 99 in other" in notes


def test_same_run_twice_and_a_copy_of_it_are_errors(tmp_path, runs):
    with pytest.raises(InvalidInputError, match=r"got the run .*run1 twice"):
        gather_history([runs[0], RunFolder(runs[0].path / ".." / "run1")])
    copy = make_run(
        tmp_path / "copy", datasets={"cub200": "standin"}, seeds=1, num_test=12, num_explained=4
    )
    dated(copy, 1)
    with pytest.raises(InvalidInputError, match=r"copy is the same run as .*run1"):
        gather_history([runs[0], copy])


def test_runs_without_anything_in_common_say_in_what_they_differ(tmp_path, runs):
    other = make_run(
        tmp_path / "other", datasets={"flowers": "standin"}, seeds=1, num_test=12, num_explained=4
    )
    with pytest.raises(NotComparableError, match=r"no dataset in common \(run1: cub200; other: fl"):
        gather_history([runs[0], dated(other, 7)])


def test_folders_of_one_name_are_told_apart(tmp_path, runs):
    other = make_run(
        tmp_path / "run1", datasets={"cub200": "standin"}, seeds=1, num_test=12, num_explained=4
    )
    names = [run.name for run in gather_history([runs[0], dated(other, 8)]).runs]
    assert names == [f"{run.path.parent.name}/run1" for run in (runs[0], other)]
