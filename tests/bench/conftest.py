"""A tiny suite on synthetic scenes and a reporter that records its events."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.data import load_card
from lico_bench.store import RunFolder
from tests.bench.single_run import execute_tiny

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


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one with or without bfloat16 arithmetic."""

    def become(precision):
        for module in ("runtime", "bench.plan", "bench.runner", "training.loop"):
            monkeypatch.setattr(f"lico_bench.{module}.native_precision", lambda _: precision)

    return become


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> RunFolder:
    out = tmp_path_factory.mktemp("whole") / "run"
    execute_tiny(out)
    return RunFolder(out)


@pytest.fixture
def run(whole, tmp_path) -> RunFolder:
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def cifar10_without_test() -> Path:
    """A small CIFAR-10 whose test file cannot be read."""
    folder = Path("data/cifar10/cifar-10-batches-py")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 6):
        images = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        batch = {"data": images, "labels": [i % 10 for i in range(20)]}
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch))
    names = {"label_names": list(load_card("cifar10").class_names)}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    (folder / "test_batch").write_bytes(b"not a pickle")
    return Path("data")
