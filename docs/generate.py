"""Write what the documents show of the code: reference pages, the layers, the default protocol.

Metrics, methods, arms, protocols, networks, data sets, commands, exit codes and public names are
described where they are defined. `docs/reference/*` and `docs/layers.svg` are written whole;
other documents have parts between `<!-- code: NAME -->` and `<!-- end -->`.

    uv run python docs/generate.py            # write
    uv run python docs/generate.py --check    # exit 1 if a file differs from the code
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from textwrap import wrap
from types import FunctionType, ModuleType
from typing import Any

import typer
from docstrings import arguments, described, escaped, shown, table
from layers import draw_layers

import lico_bench
from lico_bench.cli.exit_codes import MEANINGS
from lico_bench.data import card_names, load_card
from lico_bench.metrics import METRICS, PROTOCOLS, resolve_metric
from lico_bench.models import BACKBONES, ENCODERS
from lico_bench.records import Protocol
from lico_bench.registry import keyword_defaults
from lico_bench.saliency import SALIENCY
from lico_bench.store.codec import json_schema
from lico_bench.store.run_records import Manifest
from lico_bench.training import ARMS
from lico_bench.training.lico_options import CHOICES, LicoOptions

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
NOTE = "<!-- Written by docs/generate.py; edit the code instead. -->"
UNBROKEN = "\N{NO-BREAK SPACE}"
BETTER = {True: "higher", False: "lower", None: "descriptive"}


def page(title: str, introduction: str, *parts: str) -> str:
    """Return a reference page."""
    return "\n\n".join(filter(None, [f"# {title}", NOTE, introduction, *parts])) + "\n"


def options_of(values: Mapping[str, object]) -> str:
    """Return options as code, `name = value`."""
    return ", ".join(f"`{name} = {shown(value)}`" for name, value in values.items())


def interval(low: float | None, high: float | None) -> str:
    """Return a range of values; None is unbounded."""
    start = "(-∞" if low is None else f"[{low:g}"
    return f"{start}, ∞)" if high is None else f"{start}, {high:.3g}]"


def metrics() -> str:
    """Return the page of metrics: a table for each category, then each definition."""
    parts = []
    for category in dict.fromkeys(METRICS[name].spec.category for name in METRICS):
        chosen = {n: METRICS[n] for n in METRICS if METRICS[n].spec.category == category}
        parts.append(f"## {category.capitalize()}")
        rows = (
            (
                f"[`{name}`](#{name})", metric.spec.title, BETTER[metric.spec.higher_is_better],
                interval(*metric.spec.bounds), options_of(metric.rules),
            )
            for name, metric in chosen.items()
        )  # fmt: skip
        parts.append(table(("metric", "title", "better", "range", "rules"), rows))
        for name, metric in chosen.items():
            spec, rules = metric.spec, resolve_metric(name).spec.protocol
            definition = described(metric.compute, metric.rules)
            parts += [f"### `{name}`", definition]
            if "*Source:*" not in definition:
                parts.append(f"*Source:* {escaped(spec.source)}.")
            parts += [
                f"*Unit:* {spec.unit}. *Needs:* {', '.join(spec.needs)}. "
                f"*Rules stored as:* {f'`{rules}`' if rules else 'the protocol of the run'}.",
                f"*Pitfalls:* {escaped(spec.pitfalls)}.",
            ]
    return page(
        "Metrics",
        f"All {len(METRICS)} metrics of `lico-bench ls metrics`. A rule is changed in brackets, as "
        "in `road(noise=0)`; that is another metric with another id. *Needs* are the inputs: maps, "
        "the curves of a [protocol](protocols.md), the objects' regions, new maps (`explainer`) or "
        "the network. A descriptive metric has no direction of merit.",
        *parts,
    )


def methods() -> str:
    """Return the page of saliency methods: one table, then each definition."""
    families = dict.fromkeys(SALIENCY[name].family for name in SALIENCY)
    chosen = {
        n: SALIENCY[n] for family in families for n in SALIENCY if SALIENCY[n].family == family
    }
    parts = [
        table(
            ("method", "title", "family", "options", "source"),
            (
                (
                    f"[`{name}`](#{name})", entry.title, entry.family,
                    options_of(keyword_defaults(entry.compute)), entry.source,
                )
                for name, entry in chosen.items()
            ),
        )
    ]  # fmt: skip
    for name, entry in chosen.items():
        parts += [
            f"## `{name}`",
            described(entry.compute, keyword_defaults(entry.compute)),
        ]
        if entry.pitfalls:
            parts.append(f"*Pitfalls:* {escaped(entry.pitfalls.rstrip('.'))}.")
    return page(
        "Saliency methods",
        f"All {len(SALIENCY)} methods of `lico-bench ls methods`. An option is changed in "
        "brackets, as in `rise(num_masks=200)`; that is another method, and each row stores the "
        "full text. `layer` defaults to the last feature maps. A control ignores the model.",
        *parts,
    )


def arms() -> str:
    """Return the page of arms, and the options of their objectives.

    Raises:
        KeyError: for an option that its docstring does not describe.
    """
    rows = []
    for name in ARMS:
        arm, defaults = ARMS[name], type(ARMS[name].options)()
        changed = [
            f"`{field.name} = {getattr(arm.options, field.name)}`"
            for field in fields(arm.options)
            if getattr(arm.options, field.name) != getattr(defaults, field.name)
        ]
        if arm.text_encoder:
            changed.append(f"text encoder `{arm.text_encoder}`")
        summary = f"**{arm.title}**: {arm.summary}"
        rows.append((f"`{name}`", summary, ", ".join(changed), arm.source))
    parts = [
        table(("arm", "what it minimises", "options that differ from the defaults", "source"), rows)
    ]
    for kind in dict.fromkeys(type(ARMS[name].options) for name in ARMS):
        users = [f"`{name}`" for name in ARMS if type(ARMS[name].options) is kind]
        meaning_of = {n: m for names, m in arguments(kind).items() for n in names.split(", ")}
        choices = CHOICES if kind is LicoOptions else {}
        rows = [
            (
                f"`{f.name}`", f"`{shown(f.default)}`",
                ", ".join(f"`{choice}`" for choice in choices.get(f.name, ())),
                escaped(meaning_of[f.name]),
            )
            for f in fields(kind)
        ]  # fmt: skip
        if rows:
            parts += [
                f"## Options of {users[0]}",
                f"Also of {', '.join(users[1:])}." if users[1:] else "",
                table(("option", "default", "choices", "meaning"), rows),
            ]
    return page(
        "Arms",
        f"All {len(ARMS)} arms of `lico-bench ls arms`. An option is changed with "
        "`--set objective.NAME=VALUE`. [What each party computed](../readings.md) compares the "
        "readings of LICO.",
        *parts,
    )


def protocols() -> str:
    """Return the page of protocols, a column for each."""
    rules = [f.name for f in fields(Protocol) if f.name not in ("name", "source")]
    return page(
        "Protocols",
        "The rules of insertion and deletion curves, as `lico-bench ls protocols` lists them. Rows "
        "store the id, a name with a hash of the rules; rows of two protocols are never compared. "
        "The first one is the default.",
        table(
            ("rule", *(f"`{p.id}`" for p in PROTOCOLS.values())),
            (
                (
                    f"`{rule}`",
                    *(
                        "" if getattr(p, rule) is None else str(getattr(p, rule))
                        for p in PROTOCOLS.values()
                    ),
                )
                for rule in rules
            ),
        ),
        "## Rules",
        "\n".join(
            f"- `{names}`: {escaped(meaning)}" for names, meaning in arguments(Protocol).items()
        ),
        "## Sources",
        "\n".join(f"- `{p.name}`: {escaped(p.source)}" for p in PROTOCOLS.values()),
    )


def models_and_data() -> str:
    """Return the page of data sets, networks and text encoders."""
    cards = {name: load_card(name) for name in card_names()}
    return page(
        "Data sets, networks, text encoders",
        "What `lico-bench ls datasets`, `ls backbones` and `ls encoders` list.",
        "## Data sets",
        table(
            ("name", "title", "classes", "train", "test", "px", "regions", "licence", "source"),
            (
                (
                    f"`{name}`", card.title, str(len(card.class_names)),
                    *(f"{card.official_counts.get(split, 0):,}" for split in ("train", "test")),
                    str(card.image_size), ", ".join(card.ground_truth) or "none", card.licence,
                    card.citation,
                )
                for name, card in cards.items()
            ),
        ),
        "## Networks",
        table(
            ("name", "title", "channels", "source"),
            (
                (f"`{name}`", entry.title, str(entry.channels), entry.source)
                for name, entry in ((name, BACKBONES[name]) for name in BACKBONES)
            ),
        ),
        "## Text encoders",
        table(
            ("name", "title", "source"),
            ((f"`{name}`", ENCODERS[name].title, ENCODERS[name].source) for name in ENCODERS),
        ),
    )  # fmt: skip


def commands() -> str:
    """Return the page of commands with their arguments and options, and of exit codes."""
    application = importlib.import_module("lico_bench.cli.app").app
    found = dict(subcommands(typer.main.get_command(application), "lico-bench"))
    overview = [
        (f"[`{name}`](#{name.replace(' ', '-')})", escaped(command.help.splitlines()[0]))
        for name, command in found.items()
    ]
    codes = [(str(code), meaning) for code, meaning in sorted(MEANINGS.items())]
    return page(
        "Commands",
        table(("command", "does"), overview),
        "## Exit codes",
        table(("code", "meaning"), codes),
        *(command_section(name, command) for name, command in found.items()),
    )


def subcommands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the commands below a command, or itself if it has none, with their full names."""
    if not hasattr(command, "commands"):
        yield name, command
    for part, below in getattr(command, "commands", {}).items():
        yield from subcommands(below, f"{name} {part}")


def command_section(name: str, command: Any) -> str:
    """Return the description of one command."""
    context = typer.Context(command, info_name=name)
    records = [word.get_help_record(context) for word in command.params]
    rows = [(f"`{left}`", escaped(right)) for left, right in filter(None, records)]
    parts = [
        f"## `{name}`",
        escaped(inspect.cleandoc(command.help)),
        f"    {name} {' '.join(command.collect_usage_pieces(context))}",
        table(("argument or option", "meaning"), rows) if rows else "",
    ]
    return "\n\n".join(filter(None, parts))


def public_names() -> str:
    """Return the page of the names that Python code imports."""

    def entry(module: ModuleType, name: str) -> Iterator[str]:
        thing = getattr(module, name)
        if isinstance(thing, (FunctionType, type)):
            yield f"### `{name}`"
            if isinstance(thing, FunctionType):
                yield usage(name, inspect.signature(thing))
            yield described(thing, [w for names in arguments(thing) for w in names.split(", ")])

    parts = []
    for module in (lico_bench, lico_bench.losses, lico_bench.metrics):
        parts.append(f"## `{module.__name__}`")
        for name in module.__all__:
            parts += entry(module, name)
    return page("Python", "The names that other code may rely on.", *parts)


class Code(str):
    """Text that `repr` returns as it is."""

    __slots__ = ()
    __repr__ = str.__str__


def usage(name: str, signature: inspect.Signature) -> str:
    """Return a call with names and defaults as a block of code, in several lines if it is long.

    A default function is shown by its name, and a lambda as `...`: their reprs have addresses.
    """
    empty, words = inspect.Parameter.empty, []
    for word in signature.parameters.values():
        default = word.default
        if default is not empty:
            is_function = isinstance(default, FunctionType)
            text = default.__name__.replace("<lambda>", "...") if is_function else repr(default)
            default = Code(text.replace(" ", UNBROKEN))
        words.append(word.replace(annotation=empty, default=default))
    call = f"{name}{inspect.Signature(words)}"
    lines = wrap(call, 84, initial_indent="    ", subsequent_indent=" " * 8, break_on_hyphens=False)
    return "\n".join(lines).replace(UNBROKEN, " ")


def default_protocol() -> str:
    """Return the sentence that names the default protocol with its hash."""
    name = inspect.signature(lico_bench.evaluate).parameters["protocol"].default
    return f"The default protocol is `{PROTOCOLS[name].id}`."


def layer_lists() -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Return the packages by line, and those without torch, as a test enforces them."""
    sys.path.insert(0, str(REPOSITORY))
    from tests.test_import_order import LINES, WITHOUT_TORCH

    return LINES, WITHOUT_TORCH


def packages() -> str:
    """Return the table of packages with the first lines of their docstrings, by layer."""

    def purpose(name: str) -> str:
        path = REPOSITORY / "lico_bench" / name
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        return escaped(text.splitlines()[0])

    lines, _ = layer_lists()
    rows = (
        (str(level) if place == 0 else "", f"`{name}`", purpose(name))
        for level, names in enumerate(lines, start=1)
        for place, name in enumerate(names)
    )
    return table(("line", "package", "purpose"), rows)


def layers() -> str:
    """Return the picture of the layers."""
    return draw_layers(*layer_lists())


def manifest_schema() -> str:
    """Return the JSON schema of a run's `manifest.json`."""
    return json.dumps(json_schema(Manifest), indent=2, sort_keys=True) + "\n"


FILES: dict[str, Callable[[], str]] = {
    "reference/metrics.md": metrics,
    "reference/methods.md": methods,
    "reference/arms.md": arms,
    "reference/protocols.md": protocols,
    "reference/models-and-data.md": models_and_data,
    "reference/commands.md": commands,
    "reference/python.md": public_names,
    "reference/manifest.schema.json": manifest_schema,
    "layers.svg": layers,
}
PARTS: dict[str, Callable[[], str]] = {
    "default_protocol": default_protocol,
    "packages": packages,
}


def replace_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return a document with all of its generated parts written anew.

    Raises:
        KeyError: for a part that nothing generates.
    """
    return re.sub(
        r"<!-- code: (\w+) -->\n.*?<!-- end -->",
        lambda match: f"<!-- code: {match[1]} -->\n{parts[match[1]]()}\n<!-- end -->",
        text,
        flags=re.DOTALL,
    )


def written() -> Iterator[tuple[Path, str]]:
    """Yield every document that is generated, in whole or in part, with its text."""
    whole = {DOCS / name: content for name, content in FILES.items()}
    for path, content in whole.items():
        yield path, content()
    for path in sorted({REPOSITORY / "BENCHMARK.md", *DOCS.rglob("*.md")} - set(whole)):
        yield path, replace_parts(path.read_text(encoding="utf-8"), PARTS)


def main() -> int:
    """Write the files, or compare them with the code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    is_check = parser.parse_args().check
    differ = []
    for path, text in written():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            differ.append(path)
            if not is_check:
                path.write_text(text, encoding="utf-8")
    for path in differ:
        state = "differs from the code" if is_check else "written"
        print(f"{path.relative_to(REPOSITORY)}: {state}")
    return 1 if is_check and differ else 0


if __name__ == "__main__":
    sys.exit(main())
