"""Reference pages are written from the code; links, workflow and version agree with the rest."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
import yaml

import lico_bench
from lico_bench.cli.exit_codes import MEANINGS
from lico_bench.metrics import METRICS, PROTOCOLS, Metric, resolve_metric
from lico_bench.records import MetricSpec
from lico_bench.registry import Registry
from lico_bench.saliency import SALIENCY, SaliencyMethod
from lico_bench.training.arms import ARMS, Arm, ArmOptions
from lico_bench.training.lico_options import CHOICES, LicoOptions
from tests.test_import_order import LINES

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.fixture(scope="module")
def generator():
    """`docs/generate.py`, loaded as the script that it is."""
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("generate")
    sys.path.remove(str(DOCS))
    for name in ("generate", "docstrings", "layers"):
        del sys.modules[name]


@pytest.fixture
def added():
    """Function that registers an entry for one test."""
    entries = []

    def add(registry: Registry, name: str, entry: object) -> None:
        registry.add(name, entry)
        entries.append((registry, name))

    yield add
    for registry, name in entries:
        del registry._entries[name]


def test_documents_are_what_the_generator_writes(generator):
    for path, text in generator.written():
        assert path.read_text(encoding="utf-8") == text, "run: uv run python docs/generate.py"


def test_the_page_of_metrics_has_row_and_section_of_an_entry(generator, added):
    def compute(inputs, *, share: float = 0.25):
        """Largest value, (N,) >= 0.

        Args:
            share: of the pixels.
        """

    spec = MetricSpec(
        "toy", "Toy | metric", higher_is_better=False, bounds=(0.0, None), unit="nats",
        source="a paper", needs=("maps", "regions"), category="localisation", pitfalls="none",
    )  # fmt: skip
    added(METRICS, "toy", Metric(spec, compute))
    text = generator.metrics()
    before, section = text.split("\n### `toy`\n")
    row = "| [`toy`](#toy) | Toy \\| metric | lower | [0, ∞) | `share = 0.25` |"
    assert row in before[before.index("## Localisation") :].splitlines()
    rules = resolve_metric("toy").spec.protocol
    assert section.split("\n##")[0].strip() == (
        "Largest value, (N,) >= 0.\n\n- `share`: of the pixels.\n\n*Source:* a paper.\n\n"
        f"*Unit:* nats. *Needs:* maps, regions. *Rules stored as:* `{rules}`.\n\n"
        "*Pitfalls:* none."
    )


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_source_and_pitfalls(name: str):
    assert METRICS[name].spec.source
    assert METRICS[name].spec.pitfalls


def test_the_page_of_methods_has_row_and_section_of_an_entry(generator, added):
    def compute(model, images, targets, *, size: int = 3):
        """Values of the pixels.

        Args:
            size: of a window in px.
        """

    method = SaliencyMethod("Toy", "a paper", compute, family="gradient", pitfalls="Coarse.")
    added(SALIENCY, "toy", method)
    before, section = generator.methods().split("\n## `toy`\n")
    assert "| [`toy`](#toy) | Toy | gradient | `size = 3` | a paper |" in before.splitlines()
    assert section.split("\n##")[0].strip() == (
        "Values of the pixels.\n\n- `size`: of a window in px.\n\n*Pitfalls:* Coarse."
    )


@dataclass(frozen=True)
class ToyOptions(ArmOptions):
    """Options of an arm.

    Attributes:
        weight: of the term.
    """

    weight: float = 0.5


@dataclass(frozen=True)
class UntoldOptions(ArmOptions):
    """Nothing about its option."""

    weight: float = 0.5


def toy_arm(options: ArmOptions) -> Arm:
    return Arm(title="Toy", summary="a term", source="a paper", build=None, options=options)


def test_the_page_of_arms_shows_changed_values_and_all_options(generator, added):
    added(ARMS, "toy", toy_arm(ToyOptions()))
    added(ARMS, "toy_strong", toy_arm(ToyOptions(weight=2.0)))
    before, section = generator.arms().split("\n## Options of `toy`\n")
    assert "| `toy` | **Toy**: a term |  | a paper |" in before.splitlines()
    assert "| `toy_strong` | **Toy**: a term | `weight = 2.0` | a paper |" in before.splitlines()
    assert section.split("\n## ")[0].strip().splitlines() == [
        "Also of `toy_strong`.",
        "",
        "| option | default | choices | meaning |",
        "| --- | --- | --- | --- |",
        "| `weight` | `0.5` |  | of the term. |",
    ]


def test_the_page_of_arms_shows_the_choices_of_a_switch(generator):
    for option, choices in CHOICES.items():
        default = getattr(LicoOptions(), option)
        shown = ", ".join(f"`{choice}`" for choice in choices)
        assert f"\n| `{option}` | `{default}` | {shown} | " in generator.arms()


def test_an_option_that_its_docstring_does_not_describe_is_an_error(generator, added):
    added(ARMS, "toy", toy_arm(UntoldOptions()))
    with pytest.raises(KeyError, match="weight"):
        generator.arms()


def test_the_page_of_protocols_has_a_column_for_each(generator):
    lines = generator.protocols().splitlines()
    for place, protocol in enumerate(PROTOCOLS.values(), start=2):
        columns = {
            cells[1].strip(): cells[place].strip()
            for cells in (line.split("|") for line in lines if line.startswith("| "))
        }
        assert columns["rule"] == f"`{protocol.id}`"
        for field in fields(protocol):
            if field.name not in ("name", "source"):
                value = getattr(protocol, field.name)
                assert columns[f"`{field.name}`"] == ("" if value is None else str(value))


def test_a_command_is_shown_with_its_usage_and_options(generator):
    group, outer = typer.Typer(), typer.Typer()

    @group.command()
    def copy(
        source: Annotated[Path, typer.Argument(help="What to copy.")],
        limit: Annotated[int, typer.Option(help="How many <files>.")] = 3,
    ) -> None:
        """Copy files.

        Twice if needed.
        """

    @group.command()
    def clear() -> None:
        """Remove files."""

    outer.add_typer(group, name="files")
    found = dict(generator.subcommands(typer.main.get_command(outer), "toy"))
    assert list(found) == ["toy files copy", "toy files clear"]
    text = generator.command_section("toy files copy", found["toy files copy"])
    start, table = text.split("\n\n| argument or option | meaning |\n| --- | --- |\n")
    assert start == (
        "## `toy files copy`\n\nCopy files.\n\nTwice if needed.\n\n"
        "    toy files copy [OPTIONS] {source}"
    )
    rows = table.splitlines()
    assert rows[0] == "| `source <path>` | What to copy.  \\[required\\] |"
    assert rows[1] == "| `--limit <int>` | How many &lt;files>.  \\[default: 3\\] |"


def test_every_exit_code_is_in_the_table(generator):
    text = generator.commands().split("\n## ")[1]
    rows = [line.split(" | ") for line in text.splitlines()[4:] if line]
    assert [(int(code.strip("| ")), meaning.rstrip(" |")) for code, meaning in rows] == sorted(
        MEANINGS.items()
    )


def test_a_signature_is_shown_without_types_and_addresses(generator):
    def example(one: int, *, two: float = 0.5, is_due=lambda: False, word="a") -> int:
        return one

    shown = generator.usage("example", inspect.signature(example))
    assert shown == "    example(one, *, two=0.5, is_due=..., word='a')"


def test_a_long_signature_is_broken_between_its_arguments(generator):
    def example(*, first=(1, 2, 3, 4, 5), second=(1, 2, 3, 4, 5), third=(1, 2, 3, 4, 5)):
        return first, second, third

    assert generator.usage(
        "a_long_name_of_a_function", inspect.signature(example)
    ).splitlines() == [
        "    a_long_name_of_a_function(*, first=(1, 2, 3, 4, 5), second=(1, 2, 3, 4, 5),",
        "        third=(1, 2, 3, 4, 5))",
    ]


def test_parts_of_a_document_are_replaced_between_their_marks(generator):
    text = "a\n<!-- code: one -->\nold\n<!-- end -->\nb\n<!-- code: one -->\n<!-- end -->\n"
    part = "<!-- code: one -->\nnew\n<!-- end -->\n"
    assert generator.replace_parts(text, {"one": lambda: "new"}) == f"a\n{part}b\n{part}"
    with pytest.raises(KeyError, match="one"):
        generator.replace_parts(text, {})


def test_every_part_is_shown(generator):
    text = "".join(text for _, text in generator.written())
    assert set(re.findall(r"<!-- code: (\w+) -->", text)) == set(generator.PARTS)


def test_picture_and_table_have_the_packages_in_the_order_of_their_lines(generator):
    names = [name for line in LINES for name in line]
    picture = generator.layers()
    assert re.findall(r'<text x="[\d.]+" y="\d+">([a-z_]+)</text>', picture) == names
    assert re.findall(r"\| `([a-z_]+)` \| \S", generator.packages()) == names


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
    from_repository = {"protocol.md", "changelog.md", "contributing.md", "notebook.md"}
    assert shown - pages == from_repository


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
