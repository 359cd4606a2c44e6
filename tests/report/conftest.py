from __future__ import annotations

import pytest
from fake_run import make_run

from lico_bench.report import build_report, current_report
from lico_bench.report.gathering import gather
from lico_bench.store import RunFolder


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
