"""Reference pages are written from the code; links, workflow and version agree with the rest."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import lico_bench
from lico_bench.metrics import METRICS, PROTOCOLS
from lico_bench.models import BACKBONES, ENCODERS
from lico_bench.registry import keyword_defaults
from lico_bench.saliency import SALIENCY
from lico_bench.training import ARMS
from tests.test_import_order import LINES

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
REFERENCE = DOCS / "reference"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BETTER = {True: "higher", False: "lower", None: "descriptive"}
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.fixture(scope="module")
def generator():
    """`docs/generate.py`, loaded as the script that it is."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate")
    sys.path.remove(str(DOCS))
    for name in ("generate", "docstrings", "layers"):
        del sys.modules[name]


def text_of(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def row_of(page: str, name: str) -> str:
    """The row of a table whose first cell is `name`, linked or not."""
    starts = (f"| `{name}` |", f"| [`{name}`](#{name}) |")
    return next(line for line in text_of(page).splitlines() if line.startswith(starts))


def test_pages_are_what_the_generator_writes(generator):
    for name, content in generator.FILES.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        assert text == content(), f"run: uv run python docs/generate.py ({name})"


@pytest.mark.parametrize("name", METRICS)
def test_the_page_tells_direction_range_rules_and_pitfalls_of_each_metric(name: str):
    spec, row = METRICS[name].spec, row_of("metrics.md", name)
    low, high = spec.bounds
    start = "(-∞" if low is None else f"[{low:g}"
    shown = f"{start}, ∞)" if high is None else f"{start}, {high:.3g}]"
    assert f"| {BETTER[spec.higher_is_better]} | {shown} |" in row
    for rule, value in METRICS[name].rules.items():
        assert f"`{rule} = {f'{value:.4g}' if isinstance(value, float) else value}`" in row
    section = text_of("metrics.md").split(f"\n### `{name}`\n")[1].split("\n##")[0]
    assert spec.unit in section
    assert spec.source
    assert spec.pitfalls
    assert "*Source:*" in section
    assert "*Pitfalls:*" in section


@pytest.mark.parametrize("name", SALIENCY)
def test_the_page_tells_source_and_options_of_each_method(name: str):
    row = row_of("methods.md", name)
    assert SALIENCY[name].source in row
    for option, value in keyword_defaults(SALIENCY[name].compute).items():
        assert f"`{option} = {f'{value:.4g}' if isinstance(value, float) else value}`" in row


def test_pages_have_every_name():
    for page, names in (
        ("arms.md", ARMS), ("protocols.md", PROTOCOLS), ("models-and-data.md", BACKBONES),
        ("models-and-data.md", ENCODERS), ("python.md", lico_bench.__all__),
    ):  # fmt: skip
        for name in names:
            assert name in text_of(page), f"{name} is not in {page}"
    for name in ARMS:
        for field in fields(ARMS[name].options):
            assert re.search(rf"^\| `{field.name}` \| .+ \| .+ \|$", text_of("arms.md"), re.M)
    protocol = (REPOSITORY / "BENCHMARK.md").read_text(encoding="utf-8")
    assert PROTOCOLS["lico_bench_1"].id in protocol
    for entry in PROTOCOLS.values():
        assert f"`{entry.id}`" in text_of("protocols.md")


def test_the_picture_has_the_layers_in_their_order():
    picture = (DOCS / "layers.svg").read_text(encoding="utf-8")
    shown = re.findall(r'<text x="[\d.]+" y="\d+">([a-z]+)</text>', picture)
    assert shown == [name for names in LINES for name in names]


def test_markdown_of_a_docstring(generator):
    def example(*, share: float = 0.1, other: int = 1) -> None:
        """One * two, in [0, 1], below `x < 1` or y < 2.

        Args:
            share: of the map,
                in two lines.
            other: not asked for.

        Raises:
            ValueError: never.

        Source: a paper.
        Differs: in a word.
        """

    assert generator.described(example, ["share"]) == (
        "One \\* two, in \\[0, 1\\], below `x < 1` or y &lt; 2.\n\n"
        "- `share`: of the map, in two lines.\n\n*Source:* a paper.\n\n*Differs:* in a word."
    )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_lead_to_files_and_headings(path: Path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        name, _, heading = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert heading in slugs, target


def test_every_page_is_in_the_navigation():
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r": ([\w/-]+\.md)$", text, re.M))
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages <= shown
    assert shown - pages == {"protocol.md", "changelog.md", "contributing.md"}


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert lico_bench.__version__ == version
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    changes = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(version)}\b", changes, re.M)


def test_the_workflow_covers_the_supported_versions():
    path = REPOSITORY / ".github" / "workflows" / "ci.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["versions"]["strategy"]["matrix"]
    low, below = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert matrix["python"] == [f"3.{minor}" for minor in range(int(low), int(below))]
    limits = next(word for word in PROJECT["dependencies"] if word.startswith("torch>="))
    low, below = re.fullmatch(r"torch>=2\.(\d+),<2\.(\d+)", limits).groups()
    assert matrix["torch"] == [f"2.{low}", f"2.{int(below) - 1}"]
    steps = " ".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    for name in re.findall(r"^(\w+)\(\) \{ # ", script, re.M):
        assert re.search(rf"\.ci/run\b.*\b{name}\b", steps), f"no job runs {name}"
