"""One training serves several runs if recipe, data and code are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.bench import ExecutorOptions, execute, make_plan
from lico_bench.errors import InvalidInputError
from lico_bench.store import check_cell
from lico_bench.store.outputs import publish


def run_into(suite, out, reporter, **more):
    options = ExecutorOptions(device="cpu")
    return execute(make_plan(suite), out, options=options, reporter=reporter, **more)


@pytest.mark.slow
def test_models_of_another_run_are_asked_by_other_rules(suite, finished, tmp_path, reporter):
    other = replace(suite, protocol="rise_2018")
    run = run_into(other, tmp_path / "other", reporter, reuse=finished)
    plain = run_into(other, tmp_path / "plain", reporter)
    keys = run.finished()
    assert keys == finished.finished()
    for key in keys:
        for name in ("model.safetensors", "rows.parquet", "curves.parquet", "findings.json"):
            made, expected = (each.cell(key).path / name for each in (run, plain))
            assert made.read_bytes() == expected.read_bytes()
        # The history is the first run's own, measured seconds included: nothing was trained.
        histories = [each.cell(key).table("history").read_bytes() for each in (run, finished)]
        assert histories[0] == histories[1]
    assert any("2 of 2 models taken from" in event[1] for event in reporter.of("note"))
    run_into(other, tmp_path / "other", reporter, reuse=finished)
    message = f"0 of 2 models taken from {finished.path}; 2 were here before"
    assert any(event[1] == message for event in reporter.of("note"))


@pytest.mark.slow
def test_where_the_same_is_asked_the_scores_come_along(suite, finished, tmp_path, reporter):
    more = replace(suite, seeds=suite.seeds + 1)
    run = run_into(more, tmp_path / "more", reporter, reuse=finished)
    plain = run_into(more, tmp_path / "plain", reporter)
    assert run.finished() == plain.finished() > finished.finished()
    for key in run.finished():
        assert check_cell(run.cell(key)) == ()
        for name in ("rows", "curves", "gallery"):
            made, expected = (each.cell(key).table(name) for each in (run, plain))
            assert made.read_bytes() == expected.read_bytes()
    for key in finished.finished():  # the seconds that scoring took are those of the first run
        assert run.cell(key).record().elapsed_s == finished.cell(key).record().elapsed_s
    fewer = run_into(replace(suite, limit=2), tmp_path / "fewer", reporter, reuse=finished)
    assert len(fewer.rows()) < len(finished.rows())


def test_a_published_copy_has_no_models_to_take(suite, finished, tmp_path, reporter):
    copy = publish(finished, tmp_path / "copy")
    with pytest.raises(InvalidInputError, match="weights were left out; name the run"):
        run_into(suite, tmp_path / "other", reporter, reuse=copy)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_another_recipe_and_a_damaged_cell_are_trained(suite, finished, tmp_path, reporter):
    longer = replace(suite, changes={**suite.changes, "learning_rate": 0.01})
    run_into(longer, tmp_path / "longer", reporter, reuse=finished)
    assert any("0 of 2 models taken from" in event[1] for event in reporter.of("note"))
    (key, other) = finished.finished()
    weights = finished.cell(key).model
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    run = run_into(suite, tmp_path / "again", reporter, reuse=finished)
    assert any("is trained again" in event[1] for event in reporter.of("note"))
    assert any("1 of 2 models taken from" in event[1] for event in reporter.of("note"))
    assert run.cell(key).model.read_bytes() != weights.read_bytes()
    assert run.cell(other).model.read_bytes() == finished.cell(other).model.read_bytes()
