"""A whole run on disk: written once, resumed, never mixed; seeds in blocks; reuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import lico_bench.store
from lico_bench.bench import Suite, make_plan
from lico_bench.bench.runner import execute_until_width, resolve_run_precision
from lico_bench.claims import interval_widths
from lico_bench.claims.records import Evidence
from lico_bench.errors import (
    InvalidInputError,
    RunBusyError,
    RunMismatchError,
)
from lico_bench.records import ROW_COLUMNS
from lico_bench.store import RunFolder, RunLock, check_cell
from lico_bench.store.outputs import publish
from tests.bench.precisions import HAS_BFLOAT16, NO_BFLOAT16, auto_suite
from tests.bench.running import CPU, run
from tests.claims.claimed_rows import MAPS, rows_with, verdict_on

FILES = {
    "recipe.json", "model.safetensors", "model.safetensors.sha256", "history.parquet",
    "findings.json", "rows.parquet", "curves.parquet", "gallery.parquet", "done.json",
}  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def rows_of(folder):
    return folder.rows().sort_values(list(ROW_COLUMNS[:-2])).reset_index(drop=True)


def test_a_run_writes_the_stable_layout(finished):
    cells = list((finished.path / "cells").iterdir())
    assert len(cells) == 2
    assert all({p.name for p in cell.iterdir()} == FILES for cell in cells)
    assert set(finished.rows().arm) == {"baseline", "lico"}
    assert set(finished.rows().source) == {"standin"}
    # The text side of lico is gone when it is trained: both classifiers cost the same.
    assert len(finished.inference()) == 2
    assert len(finished.inference()[["parameters", "gigaflop"]].drop_duplicates()) == 1
    assert not [p for p in finished.path.rglob("*") if p.name.endswith(".part")]


def test_a_second_run_changes_nothing_and_trains_nothing(finished, suite, reporter):
    before = contents(finished.path)
    run(suite, reporter)
    assert contents(finished.path) == before
    assert len(reporter.of("skip")) == 2
    assert not reporter.of("stage")


class Interruption(BaseException):
    """Stands for a kill at a chosen moment."""


def test_an_interrupted_run_goes_on_to_the_same_rows_and_weights(finished, suite, reporter):
    for moment in (1, 14):
        interrupt(suite, type(reporter)(), Path(f"part{moment}"), moment)
        resumed = run(suite, type(reporter)(), Path(f"part{moment}"))
        assert rows_of(resumed).equals(rows_of(finished))
        for cell in finished.finished():
            assert finished.cell(cell).model.read_bytes() == resumed.cell(cell).model.read_bytes()
            assert not resumed.cell(cell).checkpoint.exists()
            assert not resumed.cell(cell).parts.exists()


def interrupt(suite, reporter, folder: Path, moment: int) -> None:
    steps = 0

    def stop(_done, _total, *, cell=None):
        nonlocal steps
        steps += 1
        if steps == moment:
            raise Interruption

    reporter.advance = stop
    with pytest.raises(Interruption):
        run(suite, reporter, folder)


def test_another_suite_is_refused_and_nothing_is_changed(finished, suite, reporter):
    before = contents(finished.path)
    with pytest.raises(RunMismatchError, match=r"another suite \(differs in: limit\)"):
        run(replace(suite, limit=5), reporter)
    assert contents(finished.path) == before


def test_a_folder_that_is_no_run_is_refused(suite, reporter):
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("mine")
    with pytest.raises(RunMismatchError, match="is not a run folder"):
        run(suite, reporter)
    assert [p.name for p in Path("run").iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_damaged_files_are_named_set_aside_and_made_again(finished, suite, reporter):
    cells = [finished.cell(key) for key in finished.finished()]
    rows, weights = cells[0].table("rows").read_bytes(), cells[1].model.read_bytes()
    cells[0].table("rows").write_bytes(rows[:-100])
    cells[1].model.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    run(suite, reporter)
    assert cells[0].table("rows").read_bytes() == rows
    assert cells[1].model.read_bytes() == weights
    assert len(list(finished.damaged.rglob("rows.parquet"))) == 1
    assert len(list(finished.damaged.rglob("model.safetensors"))) == 1
    named = " ".join(note for _, note in reporter.of("note"))
    assert "rows.parquet" in named
    assert "model.safetensors" in named
    stages = [(cell, stage) for _, cell, stage in reporter.of("stage")]
    assert len(stages) == 4  # the first finds its weights
    assert rows_of(finished).equals(rows_of(run(suite, reporter)))


def test_a_second_process_is_told_that_the_folder_is_taken(finished, suite, reporter):
    before = contents(finished.path)
    with RunLock(finished.path), pytest.raises(RunBusyError, match="another process"):
        run(suite, reporter)
    assert contents(finished.path) == before


@pytest.mark.slow
def test_the_reporter_hears_the_whole_course(suite, reporter):
    run(suite, reporter)
    assert reporter.events[0][:2] == ("begin", 2)
    assert reporter.events[-1] == ("end",)
    assert [event[2] for event in reporter.of("stage")] == ["training", "scoring"] * 2
    assert len(reporter.of("finish")) == 2


@pytest.mark.slow
def test_models_of_another_run_are_asked_by_other_rules(suite, finished, tmp_path, reporter):
    other = replace(suite, protocol="rise_2018")
    reused = run(other, reporter, tmp_path / "other", reuse=finished)
    plain = run(other, reporter, tmp_path / "plain")
    keys = reused.finished()
    assert keys == finished.finished()
    for key in keys:
        for name in ("model.safetensors", "rows.parquet", "curves.parquet", "findings.json"):
            made, expected = (each.cell(key).path / name for each in (reused, plain))
            assert made.read_bytes() == expected.read_bytes()
        # The history is the first run's own, measured seconds included: nothing was trained.
        histories = [each.cell(key).table("history").read_bytes() for each in (reused, finished)]
        assert histories[0] == histories[1]
    assert any("2 of 2 models taken from" in event[1] for event in reporter.of("note"))
    run(other, reporter, tmp_path / "other", reuse=finished)
    message = f"0 of 2 models taken from {finished.path}; 2 were here before"
    assert any(event[1] == message for event in reporter.of("note"))


@pytest.mark.slow
def test_where_the_same_is_asked_the_scores_come_along(suite, finished, tmp_path, reporter):
    more = replace(suite, seeds=suite.seeds + 1)
    reused = run(more, reporter, tmp_path / "more", reuse=finished)
    plain = run(more, reporter, tmp_path / "plain")
    assert reused.finished() == plain.finished() > finished.finished()
    for key in reused.finished():
        assert check_cell(reused.cell(key)) == ()
        for name in ("rows", "curves", "gallery"):
            made, expected = (each.cell(key).table(name) for each in (reused, plain))
            assert made.read_bytes() == expected.read_bytes()
    for key in finished.finished():  # the seconds that scoring took are those of the first run
        assert reused.cell(key).record().elapsed_s == finished.cell(key).record().elapsed_s
    fewer = run(replace(suite, limit=2), reporter, tmp_path / "fewer", reuse=finished)
    assert len(fewer.rows()) < len(finished.rows())


def test_a_published_copy_has_no_models_to_take(suite, finished, tmp_path, reporter):
    copy = publish(finished, tmp_path / "copy")
    with pytest.raises(InvalidInputError, match="weights were left out; name the run"):
        run(suite, reporter, tmp_path / "other", reuse=copy)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_another_recipe_and_a_damaged_cell_are_trained(suite, finished, tmp_path, reporter):
    longer = replace(suite, changes={**suite.changes, "learning_rate": 0.01})
    run(longer, reporter, tmp_path / "longer", reuse=finished)
    assert any("0 of 2 models taken from" in event[1] for event in reporter.of("note"))
    (key, other) = finished.finished()
    weights = finished.cell(key).model
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    reused = run(suite, reporter, tmp_path / "again", reuse=finished)
    assert any("is trained again" in event[1] for event in reporter.of("note"))
    assert any("1 of 2 models taken from" in event[1] for event in reporter.of("note"))
    assert reused.cell(key).model.read_bytes() != weights.read_bytes()
    assert reused.cell(other).model.read_bytes() == finished.cell(other).model.read_bytes()


BLOCKS_SUITE = Suite(
    ("cifar10",), arms=("baseline", "lico"), profile="smoke", data="standin", seeds=6, limit=2,
    methods=("grad_cam", "random_map"), metrics=("insertion",),
    changes={"train_limit": 200, "epochs": 2, "batch_size": 20, "text_encoder": "random"},
)  # fmt: skip


def verdict(noise: float, **facts):
    return verdict_on(MAPS, rows_with({"baseline": 0.0, "lico": 0.02}, noise=noise, **facts))


@pytest.mark.parametrize("source", ["real", "standin"])
def test_an_interval_is_wide_until_it_is_narrower_than_the_smallest_effect(source):
    (narrow,), (wide,) = (interval_widths([verdict(n, source=source)]) for n in (0.02, 0.2))
    assert (narrow.is_wide, wide.is_wide) == (False, True)
    assert wide.title == "Maps on cifar10"
    assert wide.half_width > wide.smallest_effect == 0.01 > narrow.half_width


def test_only_the_width_counts_and_only_of_primary_comparisons():
    narrow = verdict(0.02)
    (evidence,) = narrow.evidence
    for gain in (-1.0, 0.0, 1.0):
        moved = replace(evidence, gain=gain, low=gain - 0.005, high=gain + 0.005)
        (width,) = interval_widths([replace(narrow, evidence=(moved,))])
        assert width.half_width == pytest.approx(0.005)
    further: Evidence = replace(evidence, family="exploratory", low=-1.0, high=1.0)
    assert len(interval_widths([replace(narrow, evidence=(evidence, further))])) == 1


@pytest.mark.slow
def test_seeds_are_added_in_blocks_up_to_the_most_and_the_run_can_be_completed(reporter):
    plan = make_plan(BLOCKS_SUITE, device="cpu")
    run = execute_until_width(plan, Path("run"), reporter=reporter, options=CPU)
    notes = [note for note in reporter.of("note") if "trainings per arm" in str(note)]
    # Accuracies of short trainings differ by more than half a point: blocks of 3, 5 and 6 seeds.
    assert [str(note).split("trainings")[0].rstrip().split()[-1][-1] for note in notes] == list(
        "356"
    )
    assert len(run.finished()) == 12


@pytest.mark.slow
def test_a_narrow_run_stops_after_the_first_block(reporter, monkeypatch):
    monkeypatch.setattr("lico_bench.claims.outcomes.IntervalWidth.is_wide", False)
    plan = make_plan(BLOCKS_SUITE, device="cpu")
    run = execute_until_width(plan, Path("run"), reporter=reporter, options=CPU)
    assert {cell.recipe.seed for cell in run.manifest().cells} == set(range(6))
    assert len(run.finished()) == 6


@pytest.mark.slow
def test_failed_cells_end_the_blocks(reporter):
    broken = replace(BLOCKS_SUITE, changes={**BLOCKS_SUITE.changes, "learning_rate": 1e30})
    run = execute_until_width(
        make_plan(broken, device="cpu"), Path("run"), reporter=reporter, options=CPU
    )
    assert len(run.failures()) == 6


def test_arms_without_a_claim_have_no_width_to_wait_for(reporter):
    plan = make_plan(replace(BLOCKS_SUITE, arms=("baseline",)), device="cpu")
    with pytest.raises(InvalidInputError, match="no claim compares the arms baseline; leave it"):
        execute_until_width(plan, Path("run"), reporter=reporter, options=CPU)


def test_fewer_seeds_than_a_claim_needs_are_refused(reporter):
    plan = make_plan(replace(BLOCKS_SUITE, seeds=2), device="cpu")
    with pytest.raises(
        InvalidInputError, match="need 3 trainings per arm, the suite has at most 2"
    ):
        execute_until_width(plan, Path("run"), reporter=reporter, options=CPU)
    assert not Path("run").exists()


@pytest.mark.parametrize("loses_manifest", [False, True])
def test_a_run_goes_on_in_the_precision_that_it_began_in(suite, machine, tmp_path, loses_manifest):
    machine(HAS_BFLOAT16)
    begun = make_plan(auto_suite(suite))
    run = RunFolder(tmp_path / "run")
    run.open_for(begun.manifest())
    if loses_manifest:
        for cell in begun.cells:
            run.cell(cell.key).path.mkdir(parents=True)
            lico_bench.store.write_json(run.cell(cell.key).recipe, cell.entry())
        run.manifest_path.write_text("torn")
    machine(NO_BFLOAT16)
    plan, notes = resolve_run_precision(make_plan(auto_suite(suite)), run.path, "cpu")
    assert [c.key for c in plan.cells] == [c.key for c in begun.cells]
    assert plan.key == begun.key
    assert "began in bfloat16" in notes[0]
    assert "slow here" in notes[1]


def test_a_precision_that_the_device_cannot_compute_is_refused(
    suite, machine, tmp_path, monkeypatch
):
    machine(HAS_BFLOAT16)
    RunFolder(tmp_path).open_for(make_plan(auto_suite(suite)).manifest())
    machine(NO_BFLOAT16)
    monkeypatch.setattr("lico_bench.bench.runner.has_bfloat16", lambda _: False)
    with pytest.raises(InvalidInputError, match="cannot compute; continue with --device cpu"):
        resolve_run_precision(make_plan(auto_suite(suite)), tmp_path, "cpu")


def test_bfloat16_by_hand_is_obeyed_with_a_warning_where_it_is_emulated(suite, machine, tmp_path):
    machine(NO_BFLOAT16)
    named = make_plan(replace(suite, changes={**suite.changes, "precision": "bfloat16"}))
    plan, notes = resolve_run_precision(named, tmp_path / "new", "cpu")
    assert {cell.recipe.precision for cell in plan.cells} == {"bfloat16"}
    assert len(notes) == 1
    assert "ten times slower than float32" in notes[0]
    machine(HAS_BFLOAT16)
    assert resolve_run_precision(named, tmp_path / "new", "cpu")[1] == ()
