"""Runs and reports; not to be changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lico_bench.report import build_report, current_report
from lico_bench.report.content import ReportContent
from lico_bench.report.figures.canvas import Plot
from lico_bench.report.gathering import gather
from lico_bench.report.history import gather_history
from lico_bench.report.latex import draw_tables
from lico_bench.report.paper_tables import paper_tables
from lico_bench.store import RunFolder
from tests.report import fake_run
from tests.report.dated_runs import NEW, OLD, dated
from tests.report.fake_run import make_run
from tests.report.page_outline import outline_of
from tests.report.paper_layouts import ARMS_SHOWN, short
from tests.report.told_claims import piece, verdict


@pytest.fixture(scope="session")
def run(made_once):
    """A finished run: two arms, two seeds, a real dataset and a stand-in; not to be changed."""
    return RunFolder(made_once("run", lambda path: build_report(make_run(path))))


@pytest.fixture(scope="session")
def report(run):
    """The paths of its report."""
    return current_report(run)


@pytest.fixture(scope="session")
def content(run):
    return gather(run)


@pytest.fixture
def figures(monkeypatch):
    """Figures by name as they are handed over to be saved; no files are made of them."""
    seen = {}

    def keep(figure, name, **facts):
        seen[name] = figure
        return Plot(name, png=b"", pdf=b"", **facts)

    for room in ("canvas", "forest", "maps"):
        monkeypatch.setattr(f"lico_bench.report.figures.{room}.save_plot", keep)
    return seen


@pytest.fixture(scope="session")
def cascading(tmp_path_factory) -> ReportContent:
    path = tmp_path_factory.mktemp("sanity") / "run"
    return gather(
        make_run(path, seeds=1, num_test=6, num_explained=4, datasets={"cub200": "standin"})
    )


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Three runs, the first two by one protocol, the last by another; not to be changed."""
    path = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        made = []
        for day, protocol in ((1, OLD), (2, OLD), (3, NEW)):
            patch.setattr(fake_run, "PROTOCOL", protocol)
            run = make_run(
                path / f"run{day}", datasets={"cub200": "standin"}, num_test=30, num_explained=10,
                draw=day,
            )  # fmt: skip
            made.append(dated(run, day))
    return made


@pytest.fixture(scope="session")
def history(runs):
    return gather_history([runs[2], runs[0], runs[1]])


@pytest.fixture(scope="session")
def page(report):
    return report.html.read_text()


@pytest.fixture(scope="session")
def outline(page):
    return outline_of(page)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Real data alone, three arms, one seed."""
    path = tmp_path_factory.mktemp("runs") / "three"
    return make_run(
        path, datasets={"cifar10": "real"}, seeds=1, arms=("baseline", "lico", "lico_mm")
    )


@pytest.fixture(scope="session")
def small(small_run):
    return gather(small_run)


@pytest.fixture(scope="session")
def tables(content):
    content = replace(content, claims=(verdict(evidence=[piece(), piece("cub200", "standin")]),))
    return {table.name: table.text for table in draw_tables(content)}


@pytest.fixture(scope="session")
def wide(tmp_path_factory):
    """A real CIFAR-10 and a stand-in of CUB-200 under the arms that the forms ask for."""
    run = make_run(
        tmp_path_factory.mktemp("layouts") / "run",
        arms=ARMS_SHOWN,
        seeds=1,
        num_test=20,
        num_explained=8,
    )
    return gather(run)


@pytest.fixture(scope="session")
def layouts(wide):
    return {short(layout): layout for layout in paper_tables(wide)}
