from __future__ import annotations

import pandas as pd
import pytest
from fake_run import cell_key, make_run

from lico_bench.errors import MissingDataError
from lico_bench.report.content import gather
from lico_bench.stats import paired_differences
from lico_bench.store import write_json, write_parquet


def test_differences_are_those_of_the_statistics_room(run, content):
    expected = paired_differences(run.rows())
    shown = pd.concat([block.differences for block in content.blocks], ignore_index=True)
    pd.testing.assert_frame_equal(shown, expected)


def test_blocks_say_which_data_is_drawn(content):
    assert {block.title: block.is_standin for block in content.blocks} == {
        "CIFAR-10": False,
        "CUB-200-2011 stand-in": True,
    }
    assert content.has_standins


def test_scores_come_in_the_suites_order_the_models_own_first_controls_last(content):
    scores = [(method, spec.name) for method, spec in content.each_score(content.blocks[1])]
    assert scores == [
        ("", "accuracy"), ("", "confidence"),
        ("grad_cam", "insertion"), ("grad_cam", "deletion"), ("grad_cam", "overall"),
        ("grad_cam", "pointing_game"), ("random_map", "insertion"), ("random_map", "deletion"),
        ("random_map", "overall"), ("random_map", "pointing_game"),
    ]  # fmt: skip


def test_interrupted_run_shows_complete_pairs_and_says_what_is_missing(tmp_path):
    content = gather(make_run(tmp_path / "run", datasets={"cifar10": "real"}, finish=False))
    (block,) = content.blocks
    assert set(block.differences["num_seeds"]) == {1}
    assert block.means.set_index("arm").loc["baseline", "num_seeds"].tolist() == [2] * 8
    assert any("3 of 4 models are in" in note for note in content.notes)
    assert any("lack an arm: 1" in note for note in content.notes)


def test_flagged_maps_are_counted_once_per_map(content):
    notes = " ".join(content.notes)
    # One flat map per cell and method, seen by three metrics; eight cells.
    assert "degenerate map: 8 of grad_cam, 8 of random_map" in notes


def test_run_of_one_arm_has_means_and_no_differences(tmp_path):
    content = gather(make_run(tmp_path / "run", arms=("lico",), datasets={"cifar10": "real"}))
    assert content.reference_arm == "lico"
    assert content.blocks[0].differences.empty
    assert len(content.blocks[0].means) == 8


def test_baseline_comes_first_whatever_the_suites_order(tmp_path):
    arms = ("lico", "baseline")
    content = gather(make_run(tmp_path / "run", arms=arms, datasets={"cifar10": "real"}))
    assert content.arms == ("baseline", "lico")


def test_metric_the_manifest_does_not_know_is_an_error(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"})
    manifest = run.manifest()
    del manifest["metrics"]["deletion"]
    write_json(run.manifest_path, manifest)
    with pytest.raises(MissingDataError, match="does not say what these metrics are: deletion"):
        gather(run)


def test_dataset_of_one_explained_image_is_shown_without_intervals(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"}, num_explained=1)
    frame = gather(run).blocks[0].differences
    maps = frame[frame["method"] != ""]
    assert (maps["note"] == "a single image, so there is no interval").all()
    assert maps["low"].isna().all()


def test_rows_of_an_arm_scored_on_other_images_are_refused(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"})
    path = run.cell(cell_key("cifar10", "lico", 0)).table("rows")
    write_parquet(path, pd.read_parquet(path).iloc[:-1])
    with pytest.raises(ValueError, match="expected baseline and lico on the same images"):
        gather(run)


def test_metrics_that_a_dataset_cannot_define_are_named(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"}, seeds=1)
    key = run.finished()[0]
    write_json(run.cell(key).path / "done.json", {"undefined_metrics": ["pointing_game"]})
    (note,) = [note for note in gather(run).notes if "Not defined" in note]
    assert note == (
        "Not defined on cifar10, which does not tell where its objects are: pointing_game."
    )
