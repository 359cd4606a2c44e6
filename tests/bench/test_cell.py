"""One cell: trained, then scored, each once."""

from __future__ import annotations

from tests.bench.running import run


def test_scoring_that_was_interrupted_does_not_train_again(finished, suite, reporter):
    cell = finished.cell(finished.finished()[0])
    rows, weights = cell.table("rows").read_bytes(), cell.model.stat().st_mtime_ns
    (cell.path / "done.json").unlink()
    cell.table("rows").unlink()
    run(suite, reporter)
    assert cell.table("rows").read_bytes() == rows
    assert cell.model.stat().st_mtime_ns == weights
