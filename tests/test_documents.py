"""The Python that documents show is run; public names are documented."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
import torch
from rich.console import Console

import lico_bench
from lico_bench.bench import Suite, execute, make_plan
from lico_bench.bench.executors import EXECUTORS
from lico_bench.cli.progress import LineReporter
from lico_bench.metrics import METRICS, PROTOCOLS, MetricInputs
from lico_bench.models import build_classifier
from lico_bench.records import Recipe
from lico_bench.saliency import SALIENCY, explain
from lico_bench.training import ARMS, train

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
EXTENDING = "docs/how-to/extend.md"  # its examples register entries


def snippets(document: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


WITH_SNIPPETS = [
    name
    for path in (REPOSITORY / "BENCHMARK.md", *sorted(DOCS.rglob("*.md")))
    if snippets(name := path.relative_to(REPOSITORY).as_posix()) and name != EXTENDING
]


def run_snippet(snippet: str, document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it as the file that it is meant to be."""
    module = ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", module)
    exec(compile(snippet, document, "exec"), module.__dict__)


@pytest.fixture
def forget():
    """Take entries that a snippet registered out of the registries again."""
    before = [
        (registry, set(registry.names())) for registry in (SALIENCY, METRICS, ARMS, EXECUTORS)
    ]
    yield
    for registry, names in before:
        for name in set(registry.names()) - names:
            del registry._entries[name]


@pytest.mark.parametrize("document", WITH_SNIPPETS)
def test_snippets_run(document: str, monkeypatch):
    for snippet in snippets(document):
        run_snippet(snippet, document, monkeypatch)


def test_the_snippet_of_the_readme_prints_differences(capsys, monkeypatch):
    run_snippet("\n".join(snippets("README.md")), "README.md", monkeypatch)
    printed = capsys.readouterr().out
    assert "insertion" in printed
    assert "low" in printed


def test_examples_of_extending_register_and_work(forget, monkeypatch, tmp_path):
    for snippet in snippets(EXTENDING):
        run_snippet(snippet, EXTENDING, monkeypatch)
    model = build_classifier("wrn_10_1", num_classes=3, mean=(0.5,) * 3, std=(0.2,) * 3, seed=0)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 2])
    maps = explain(model, images, targets, method="input_gradient")
    inputs = MetricInputs(model, images, targets, maps, None, PROTOCOLS["lico_bench_1"])
    shares = METRICS["concentration"].compute(inputs)
    assert ((shares > 0.1) & (shares <= 1)).all()
    recipe = Recipe(
        "cifar10", "wrn_10_1", "feature_decay", source="standin", train_limit=32, epochs=1,
        batch_size=16,
    )  # fmt: skip
    history = train(recipe, device="cpu").history
    assert {"cross_entropy", "decay"} <= set(history.quantity)
    suite = Suite(
        ("cifar10",), arms=("feature_decay",), seeds=1, profile="smoke", data="standin", limit=2,
        methods=("input_gradient",), metrics=("concentration",),
        changes={"train_limit": 32, "epochs": 1, "batch_size": 16, "backbone": "wrn_10_1"},
    )  # fmt: skip
    reporter = LineReporter(Console(quiet=True))
    run = execute(make_plan(suite), tmp_path / "run", executor="cheapest", reporter=reporter)
    assert len(run.finished()) == 1
    assert not run.failures()


def test_public_names_are_importable_and_documented():
    for name in lico_bench.__all__:
        thing = getattr(lico_bench, name)
        assert thing.__doc__, name
    for room in (lico_bench.losses, lico_bench.metrics):
        for name in room.__all__:
            if isinstance(getattr(room, name), (FunctionType, type)):
                assert getattr(room, name).__doc__, name


def test_no_document_names_this_machine():
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/README.md"), *DOCS.rglob("*.md")):
        assert str(REPOSITORY.parent) + "/" not in path.read_text(encoding="utf-8"), path
