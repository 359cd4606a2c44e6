from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
import pytest
from fake_run import cell_key, make_run

from lico_bench.errors import MissingDataError
from lico_bench.report.content import gather
from lico_bench.stats import paired_differences
from lico_bench.store import write_json, write_parquet
from lico_bench.store.run_folder import write_manifest
from tests.manifests import change_manifest


def test_differences_are_those_of_the_statistics_room(run, content):
    # The strictest size that a claim asks for; the others have none.
    effects = {"accuracy": 0.005, "insertion": 0.01, "deletion": 0.01, "overall": 0.02}
    effects |= {"pointing_game": 0.02}
    expected = paired_differences(run.rows(), smallest_effects=effects)
    shown = pd.concat([block.differences for block in content.blocks], ignore_index=True)
    pd.testing.assert_frame_equal(shown.drop(columns="p_holm"), expected)


def test_the_family_is_what_is_shown_as_a_result(content):
    shown = pd.concat([block.differences for block in content.blocks], ignore_index=True)
    inside = shown[shown["p_holm"].notna()]
    assert content.num_compared == {"real": 4, "standin": 5}
    assert set(inside["method"]) == {"", "grad_cam"}  # no control
    assert "confidence" not in set(inside["metric"])  # no direction of merit
    for source, part in inside.groupby("source"):
        raw = part["p_value"].to_numpy()
        assert len(raw) == content.num_compared[source]
        assert (part["p_holm"] >= raw).all()
        assert part["p_holm"].min() == min(1.0, len(raw) * raw.min())


def test_what_stands_beside_the_scores_joins_the_family_only_if_asked_for(tmp_path):
    run = make_run(tmp_path / "run", datasets={"cifar10": "real"}, seeds=1)
    for cell in run.finished():
        rows = run.rows()
        own = rows[(rows["cell"] == cell) & (rows["metric"] == "accuracy")]
        brier = own.assign(metric="brier", value=(own["value"] - 0.3) ** 2)
        write_parquet(run.cell(cell).table("rows"), pd.concat([rows[rows["cell"] == cell], brier]))
    assert gather(run).num_compared == {"real": 4}
    change_manifest(run, lambda manifest: manifest["suite"]["metrics"].append("brier"))
    assert gather(run).num_compared == {"real": 5}


def test_every_declared_claim_has_a_verdict_and_standins_support_none(content, tmp_path):
    assert len(content.claims) >= 10
    drawn = gather(make_run(tmp_path / "run", datasets={"cub200": "standin"}, effect=0.3))
    assert {one.outcome for one in drawn.claims} == {"not_tested"}
    assert any(one.evidence for one in drawn.claims)


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
    assert any("3 of 4 models are stored" in note for note in content.notes)
    assert any("missing arm: 1" in note for note in content.notes)


def test_an_arm_that_was_not_asked_of_a_dataset_is_not_lacking(tmp_path):
    run = make_run(tmp_path / "run", arms=("baseline", "lico", "lico_mm"), seeds=1)
    manifest = run.manifest()
    kept = tuple(cell for cell in manifest.cells if "cub200-lico_mm" not in cell.key)
    assert len(kept) == 5
    run.manifest_path.unlink()
    write_manifest(run.manifest_path, replace(manifest, cells=kept))
    shutil.rmtree(run.cell(cell_key("cub200", "lico_mm", 0)).path)
    notes = gather(run).notes
    assert not any("missing arm" in note or "not finished" in note for note in notes)


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
    change_manifest(run, lambda manifest: manifest["metrics"].pop("deletion"))
    with pytest.raises(MissingDataError, match="describes every metric, missing: deletion"):
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
