"""What a report shows: statistics, notes and warnings, computed from a run folder."""

from __future__ import annotations

import io
import shutil
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from threadpoolctl import threadpool_info

from lico_bench.errors import MissingDataError
from lico_bench.report import show_summary
from lico_bench.report.gathering import gather, run_in_threads
from lico_bench.report.page import render_page
from lico_bench.stats import paired_differences
from lico_bench.store import read_parquet, write_json, write_parquet
from lico_bench.store.run_folder import write_manifest
from tests.manifests import change_manifest
from tests.report.fake_run import cell_key, make_run


def test_differences_are_those_of_the_statistics_room(run, content):
    # The strictest size that a claim asks for; the others have none.
    effects = {"accuracy": 0.005, "insertion": 0.01, "deletion": 0.01, "overall": 0.02}
    effects |= {"pointing_game": 0.02}
    expected = paired_differences(run.rows(), smallest_effects=effects)
    shown = pd.concat([block.differences for block in content.blocks], ignore_index=True)
    pd.testing.assert_frame_equal(shown.drop(columns="q_value"), expected)


def test_the_family_is_what_is_shown_as_a_result(content):
    shown = pd.concat([block.differences for block in content.blocks], ignore_index=True)
    inside = shown[shown["q_value"].notna()]
    assert content.num_compared == {"real": 4, "standin": 5}
    assert set(inside["method"]) == {"", "grad_cam"}  # no control
    assert "confidence" not in set(inside["metric"])  # no direction of merit
    for source, part in inside.groupby("source"):
        raw = part["p_value"].to_numpy()
        assert len(raw) == content.num_compared[source]
        assert (part["q_value"] >= raw).all()
        assert part["q_value"].min() == min(1.0, len(raw) * raw.min())


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
    assert note == ("Not defined on cifar10, which has no object regions: pointing_game.")


def blas_threads() -> list[int]:
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def test_results_come_in_order_and_each_had_one_thread_for_its_products():
    before = blas_threads()
    meeting = threading.Barrier(2, timeout=30)

    def work() -> list[int]:
        meeting.wait()  # both are under way
        return blas_threads()

    found = run_in_threads(work, work, lambda: "third")
    assert found[2] == "third"
    assert all(set(threads) == {1} for threads in found[:2])
    assert blas_threads() == before


def test_what_one_of_them_raises_is_raised():
    with pytest.raises(ZeroDivisionError):
        run_in_threads(lambda: 1 // 0, lambda: np.zeros(3))


def with_cosines(run, cosines: dict[str, float]):
    """The run with these channel cosines in the last epoch, by arm; in the first all are low."""
    for cell in run.manifest().cells:
        path = run.cell(cell.key).table("history")
        rows = [(1, 0.2), (15, cosines[cell.recipe.arm])]
        added = pd.DataFrame(
            {"epoch": epoch, "quantity": "channel_cosine", "value": value, "cell": cell.key}
            for epoch, value in rows
        )
        write_parquet(path, pd.concat([read_parquet(path), added], ignore_index=True))
    return run


def with_manifest(run, change):
    change_manifest(run, change)
    return run


def printed(content) -> str:
    console = Console(width=400, file=io.StringIO())
    console.print(show_summary(content))
    return console.file.getvalue()


def test_collapsed_channels_are_the_first_line_with_the_option_that_prevents_it(tmp_path):
    run = with_cosines(make_run(tmp_path / "run"), {"baseline": 0.33, "lico": 0.96})
    content = gather(run)
    first = printed(content).splitlines()[0]
    assert first == content.headlines[0]
    assert first.startswith("Transport collapsed the channels of LICO on cifar10 (cosine 0.96")
    assert "cub200 (cosine 0.96 against 0.33" in first
    assert "--set objective.beta=0.1" in first
    assert first.replace(">", "&gt;") in render_page(content, [], [])


@pytest.mark.slow
def test_a_smaller_weight_than_the_one_that_was_used_is_named(tmp_path):
    def weaken(manifest):
        for cell in manifest["cells"]:
            cell["options"] = {"beta": 0.1 if cell["recipe"]["arm"] == "lico" else 0.0}

    run = with_cosines(make_run(tmp_path / "run"), {"baseline": 0.33, "lico": 0.96})
    with_manifest(run, weaken)
    assert "--set objective.beta=0.01" in gather(run).headlines[0]


@pytest.mark.parametrize(
    "cosines", [{"baseline": 0.33, "lico": 0.5}, {"baseline": 0.6, "lico": 0.7}]
)
@pytest.mark.slow
def test_channels_that_stay_apart_are_not_told(tmp_path, cosines):
    assert not gather(with_cosines(make_run(tmp_path / "run"), cosines)).headlines


def test_an_arm_without_transport_is_not_told(tmp_path):
    run = with_cosines(make_run(tmp_path / "run"), {"baseline": 0.3, "lico": 0.95})

    def no_transport(manifest):
        for cell in manifest["cells"]:
            cell["options"] = {"beta": 0.0}

    assert not gather(with_manifest(run, no_transport)).headlines


def test_a_run_as_published_says_so(tmp_path):
    def published(manifest):
        manifest["suite"]["as_published"] = True

    content = gather(with_manifest(make_run(tmp_path / "run"), published))
    assert content.headlines == ("Weights of the losses: as published (--as-published).",)


@pytest.mark.slow
def test_options_that_are_not_the_arms_own_are_named(tmp_path):
    def tuned(manifest):
        for cell in manifest["cells"]:
            if cell["recipe"]["arm"] == "lico":
                cell["recipe"]["objective"] = [["beta", 0.1], ["text_every", 4]]

    (message,) = gather(with_manifest(make_run(tmp_path / "run"), tuned)).headlines
    assert "LICO beta 0.1, text_every 4" in message
    assert "--as-published" in message


def test_a_run_that_stopped_between_seeds_is_not_called_interrupted(tmp_path):
    run = make_run(tmp_path / "run", seeds=3)
    cells = run.manifest().cells
    for cell in cells:
        if cell.recipe.seed == 2:
            (run.cell(cell.key).path / "done.json").unlink()
    (note,) = [note for note in gather(run).notes if "seeds" in note and "stored" in note]
    assert note.startswith("Trained 2 of 3 seeds: ")
    first = next(cell for cell in cells if cell.recipe.seed == 0)
    (run.cell(first.key).path / "done.json").unlink()
    assert any(note.startswith("The run is not finished: ") for note in gather(run).notes)
