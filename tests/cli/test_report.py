"""`lico-bench report` with a folder to write into."""

from __future__ import annotations

from pathlib import Path

import pytest

from lico_bench.report import build_report, current_report
from tests.report.fake_run import make_run


@pytest.fixture
def small_run(tmp_path):
    return make_run(
        tmp_path / "run", datasets={"cub200": "standin"}, seeds=1, num_test=30, num_explained=10
    )


def state_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of change of everything in a folder, itself included."""
    facts = {one: one.stat() for one in (folder, *folder.rglob("*"))}
    return {one: (fact.st_size, fact.st_mtime_ns) for one, fact in facts.items()}


@pytest.mark.slow
def test_report_of_a_run_goes_where_it_is_told_and_the_run_stays_as_it_is(
    small_run, tmp_path, call_cli
):
    out = tmp_path / "new" / "place"
    places = [one for one in (small_run.path, *small_run.path.rglob("*")) if one.is_dir()]
    for place in places:
        place.chmod(0o555)
    before = state_of(small_run.path)
    try:
        for _ in range(2):  # the second replaces the first
            done = call_cli("report", str(small_run.path), "--out", str(out))
            assert done.returncode == 0, done.stderr
            assert f"Report: {out / 'report.html'}" in done.stdout
            assert state_of(small_run.path) == before
            (out / "mine.txt").write_text("stays", encoding="utf-8")
    finally:
        for place in places:
            place.chmod(0o755)
    beside = build_report(small_run)
    files = {one.relative_to(beside.folder) for one in beside.folder.rglob("*")}
    assert {one.relative_to(out) for one in out.rglob("*")} == files | {Path("mine.txt")}
    for path in beside.tables:
        assert (out / "tables" / path.name).read_bytes() == path.read_bytes()
    assert current_report(small_run) is not None


def test_a_place_with_files_of_somebody_else_or_in_a_run_is_refused(small_run, tmp_path, call_cli):
    taken = tmp_path / "paper"
    (taken / "figures").mkdir(parents=True)
    (taken / "figures" / "mine.png").write_bytes(b"mine")
    file = tmp_path / "file"
    file.write_bytes(b"")
    for out, words in (
        (taken, "figures exists and is not part of a report"),
        (small_run.path / "report", "outside of every run"),
        (file, "cannot be written there"),
        (file / "below", "cannot be written there"),
        (tmp_path / ("x" * 300), "too long"),
    ):
        done = call_cli("report", str(small_run.path), "--out", str(out))
        assert done.returncode == 2, out
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert [one.name for one in taken.rglob("*")] == ["figures", "mine.png"]
    assert not (small_run.path / "report").exists()


@pytest.mark.slow
def test_report_takes_the_run_it_is_given(finished, monkeypatch, lico_bench):
    monkeypatch.chdir(finished)
    (finished / "run/report/report.html").unlink()
    done = lico_bench("report", "run")
    assert done.returncode == 0
    assert (finished / "run/report/report.html").is_file()
