"""What the documents show is run, and what they name exists."""

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
from lico_bench.registry import keyword_defaults
from lico_bench.saliency import SALIENCY, explain
from lico_bench.training import ARMS, train

REPOSITORY = Path(__file__).parent.parent


def snippets(document: str) -> list[str]:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


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


@pytest.mark.parametrize("document", ["README.md", "BENCHMARK.md"])
def test_snippets_run_and_print_what_they_say(document: str, capsys, monkeypatch):
    for snippet in snippets(document):
        run_snippet(snippet, document, monkeypatch)
    printed = capsys.readouterr().out
    if document == "README.md":
        assert "insertion" in printed
        assert "low" in printed


def test_examples_of_contributing_register_and_work(forget, monkeypatch, tmp_path):
    assert len(snippets("CONTRIBUTING.md")) == 4
    for snippet in snippets("CONTRIBUTING.md"):
        run_snippet(snippet, "CONTRIBUTING.md", monkeypatch)
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


@pytest.mark.parametrize("command", ["uv run lico-bench run --datasets all", "uv run pytest"])
def test_the_first_screen_of_the_readme_shows_both_commands(command: str):
    first_screen = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[:20]
    assert any(command in line for line in first_screen)


def test_every_registered_name_stands_in_the_protocol_document():
    text = (REPOSITORY / "BENCHMARK.md").read_text(encoding="utf-8")
    for registry in (SALIENCY, METRICS, ARMS):
        for name in registry:
            assert f"`{name}`" in text, f"define {name} in BENCHMARK.md"
    for protocol in PROTOCOLS.values():
        assert protocol.id in text, f"BENCHMARK.md has another hash than {protocol.id}"


def rows_of_tables() -> dict[str, list[str]]:
    """The cells of each table row of the protocol document, by each name in its first cell."""
    found: dict[str, list[str]] = {}
    for line in (REPOSITORY / "BENCHMARK.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|\n ").split(" | ")]
            for name in re.findall(r"`(\w+)`", cells[0]):
                found.setdefault(name, cells)
    return found


def written(low: float | None, high: float | None) -> str:
    start = "(-∞" if low is None else f"[{low:g}"
    return f"{start}, ∞)" if high is None else f"{start}, {high:.3g}]"


BETTER = {True: "higher", False: "lower", None: "descriptive"}


@pytest.mark.parametrize("name", METRICS)
def test_the_document_and_the_code_say_the_same_of_each_metric(name: str):
    spec, rules = METRICS[name].spec, METRICS[name].rules
    cells = rows_of_tables()[name]
    row = " | ".join(cells)
    assert BETTER[spec.higher_is_better] in row, name
    assert written(*spec.bounds) in row, f"{name}: expected {written(*spec.bounds)} in {row}"
    if "curves" not in spec.needs:
        for rule, value in rules.items():
            message = f"{value:.4g}" if isinstance(value, float) else str(value)
            assert f"{rule} = {message}" in row, f"{name}: expected '{rule} = {message}' in {row}"
    assert spec.source
    assert spec.pitfalls


@pytest.mark.parametrize("name", SALIENCY)
def test_the_document_and_the_code_say_the_same_of_each_method(name: str):
    entry = SALIENCY[name]
    row = " | ".join(rows_of_tables()[name])
    assert entry.source in row, f"{name}: expected the source '{entry.source}' in {row}"
    for option, value in keyword_defaults(entry.compute).items():
        if option != "layer":
            message = f"{value:.4g}" if isinstance(value, float) else str(value)
            assert f"{option} = {message}" in row, (
                f"{name}: expected '{option} = {message}' in {row}"
            )


def test_public_names_are_importable_and_documented():
    for name in lico_bench.__all__:
        thing = getattr(lico_bench, name)
        assert thing.__doc__, name
    for room in (lico_bench.losses, lico_bench.metrics):
        for name in room.__all__:
            if isinstance(getattr(room, name), (FunctionType, type)):
                assert getattr(room, name).__doc__, name


def test_no_document_names_this_machine():
    for path in (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/README.md")):
        assert str(REPOSITORY.parent) + "/" not in path.read_text(encoding="utf-8"), path
