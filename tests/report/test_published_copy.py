"""A published copy is small, says what is left out, and has the numbers of its run."""

from __future__ import annotations

import shutil

import pytest
from pandas.testing import assert_frame_equal

from lico_bench.errors import InvalidInputError
from lico_bench.report import build_report
from lico_bench.store import RunFolder, check_cell
from lico_bench.store.outputs import publish
from lico_bench.store.parquet import read_parquet


@pytest.fixture
def copy(run, tmp_path):
    suite = tmp_path / "reference" / "suite.toml"  # what it was run by may lie beside it
    suite.parent.mkdir()
    suite.write_text("seeds = 1")
    return publish(run, suite.parent)


@pytest.mark.slow
def test_tables_of_a_copy_are_those_of_the_run(run, report, copy):
    made = build_report(copy)
    before, after = report.html.parent, made.html.parent
    names = sorted(p.relative_to(before) for p in before.rglob("tables/*") if p.is_file())
    assert len(names) > 4
    for name in names:
        assert (after / name).read_bytes() == (before / name).read_bytes(), name
    assert "left out: weights, curves, gallery" in made.html.read_text()


def test_a_copy_is_whole_and_without_weights_and_images(run, copy):
    assert copy.finished() == run.finished()
    assert copy.failures() == run.failures()
    assert not list(copy.path.rglob("*.safetensors"))
    assert all(check_cell(copy.cell(key)) == () for key in copy.finished())
    for key in copy.finished():
        for name in ("rows", "history"):
            stored, published = (each.cell(key).table(name) for each in (run, copy))
            assert_frame_equal(read_parquet(published), read_parquet(stored), check_exact=True)
            assert published.stat().st_size < stored.stat().st_size
    assert copy.curves().empty


def test_nothing_is_overwritten_and_nothing_damaged_is_published(run, copy, tmp_path):
    with pytest.raises(InvalidInputError, match="exists; remove it"):
        publish(run, copy.path)
    shutil.copytree(run.path, tmp_path / "damaged")
    damaged = RunFolder(tmp_path / "damaged")
    damaged.cell(damaged.finished()[0]).table("history").unlink()
    with pytest.raises(InvalidInputError, match=r"history\.parquet: missing|history"):
        publish(damaged, tmp_path / "other")
    assert not (tmp_path / "other").exists()
