"""A tiny suite on synthetic scenes and a reporter that records its events."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.store import RunFolder

TINY = {
    "epochs": 2,
    "train_limit": 64,
    "batch_size": 32,
    "backbone": "wrn_10_1",
    "precision": "float32",
}


class RecordingReporter:
    """Records all events."""

    def __init__(self) -> None:
        self.events: list[tuple] = []

    def begin(self, *, cells, work):
        self.events.append(("begin", cells, work))

    def skip(self, cell):
        self.events.append(("skip", cell))

    def stage(self, cell, stage, *, work):
        self.events.append(("stage", cell, stage))

    def advance(self, done, total, *, cell=None):
        self.events.append(("advance", done, total))

    def finish(self, cell, message):
        self.events.append(("finish", cell, message))

    def note(self, sentence):
        self.events.append(("note", sentence))

    def end(self):
        self.events.append(("end",))

    def of(self, kind: str) -> list[tuple]:
        return [event for event in self.events if event[0] == kind]


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture
def suite() -> Suite:
    return tiny_suite()


@pytest.fixture(scope="session")
def _finished(made_once) -> Path:
    def build(out: Path) -> None:
        options = ExecutorOptions(device="cpu")
        execute(make_plan(tiny_suite()), out, options=options, reporter=RecordingReporter())

    return made_once("finished", build)


@pytest.fixture
def finished(_finished, tmp_path) -> RunFolder:
    """A finished run of `suite` in the current folder."""
    shutil.copytree(_finished, tmp_path / "run")
    return RunFolder(Path("run"))


def tiny_suite() -> Suite:
    return Suite(
        datasets=("cifar10",),
        arms=("baseline", "lico"),
        seeds=1,
        profile="smoke",
        methods=("grad_cam",),
        metrics=("insertion", "deletion", "overall"),
        data="standin",
        limit=4,
        changes=TINY,
    )
