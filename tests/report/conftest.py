from __future__ import annotations

import pytest
from fake_run import make_run

from lico_bench.report import build_report
from lico_bench.report.content import gather


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run: two arms, two seeds, a real dataset and a stand-in; not to be changed."""
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="session")
def report(run):
    """The paths of its report."""
    return build_report(run)


@pytest.fixture(scope="session")
def content(run):
    return gather(run)
