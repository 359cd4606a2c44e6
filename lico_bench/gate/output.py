"""A verdict as terminal table, GitHub comment (Markdown), GitHub annotations and JUnit XML.

The XML is written with the standard library: the package junit-xml has had no release since 2020.
Source of the annotations: GitHub Docs, "Workflow commands for GitHub Actions" (escapes; ten per
kind and step).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from rich.console import Group, RenderableType
from rich.markup import escape as escape_markup
from rich.table import Table
from rich.text import Text

from lico_bench.gate.judgement import WORST_FIRST, Judgement, Outcome, Verdict
from lico_bench.gate.reference import Update

MAX_ROWS = 24  # longer tables list only the scores that need attention
MAX_LENGTH = 60_000  # characters of a comment; GitHub allows 65,536
MAX_PER_KIND = 10  # annotations; GitHub drops the rest


@dataclass(frozen=True)
class _Look:
    """How an outcome is shown.

    Attributes:
        style: in the terminal.
        heading, emoji: in the comment.
        tag: of a test case in JUnit XML; empty for a passed one.
        annotation: kind of the annotation; empty for none.
    """

    style: str
    emoji: str
    heading: str
    tag: str = ""
    annotation: Literal["error", "warning", ""] = ""


_LOOKS: dict[Outcome, _Look] = {
    "regression": _Look("bold red", "❌", "Worse by more than the margin", "failure", "error"),
    "not_comparable": _Look("magenta", "🚫", "Not comparable", "error", "error"),
    "inconclusive": _Look("yellow", "❓", "Inconclusive", "skipped", "warning"),
    "better": _Look("bold green", "✅", "Better"),
    "pass": _Look("green", "✅", "Not worse by more than the margin"),
}
_EXPANDED: tuple[Outcome, ...] = ("regression", "not_comparable")  # sections of the comment
_HEADINGS = (
    "| Score | Before → after | Loss [one-sided 95 % bounds] | Margin | Sample |\n"
    "|---|---|---|---|---|"
)
# Characters of GitHub's markup, tags, mentions, references, addresses and emoji.
_SPECIAL = re.compile(r"[\\`*_\[\]<>#|~@&$]|:(?=\S)")
# Characters that XML 1.0 does not allow, not even escaped.
_INVALID_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verdict_table(verdict: Verdict) -> RenderableType:
    """Return a table of the judgements, the worst first, with the verdict's sentence as title.

    A verdict with more than `MAX_ROWS` scores lists only those that did not pass.
    """
    style = _LOOKS[verdict.outcome].style
    table = Table(title=escape_markup(verdict.sentence), title_style=style, expand=True)
    table.add_column("Score", ratio=4, overflow="fold")
    table.add_column("Outcome", no_wrap=True)
    table.add_column("Reason", ratio=5, overflow="fold")
    table.add_column("Sample", ratio=2, overflow="fold")
    is_long = len(verdict.judgements) > MAX_ROWS
    shown = [name for name in WORST_FIRST if _LOOKS[name].tag or not is_long]
    for judgement in verdict.with_outcome(*shown):
        table.add_row(
            escape_markup(f"{judgement.models_text}: {judgement.score_text}"),
            f"[{_LOOKS[judgement.outcome].style}]{judgement.outcome.replace('_', ' ')}[/]",
            escape_markup(judgement.sentence),
            escape_markup(judgement.sample_text),
        )
    lines = [Text(f"Note: {note}") for note in verdict.notes]
    if not is_long:
        return Group(table, *lines)
    lines.append(Text("Scores that pass are not listed; --markdown and --junit list all scores."))
    return Group(table if table.row_count else Text(verdict.sentence, style), *lines)


def update_table(update: Update) -> RenderableType:
    """Return a table of the changed, added and removed scores, with their counts as title."""
    lines: list[RenderableType] = [Text(note) for note in update.notes]
    if not update.changes:
        return Group(Text(update.sentence), *lines)
    table = Table(title=escape_markup(update.sentence), expand=True)
    table.add_column("Score", ratio=4, overflow="fold")
    table.add_column("Before", justify="right")
    table.add_column("After", justify="right")
    table.add_column("Change", ratio=2, overflow="fold")
    table.add_column("Margin and other changes", ratio=3, overflow="fold")
    for change in update.changes:
        score, others = escape_markup(change.score), escape_markup(change.others)
        table.add_row(score, change.before, change.after, change.change, others)
    return Group(table, *lines)


def markdown(verdict: Verdict) -> str:
    """Return the comment; sections without failures are collapsed.

    Sections that would make the comment too long are cut, with a count.
    """
    lines = [
        f"<!-- lico-bench {escape(verdict.title)} -->",
        f"### {_LOOKS[verdict.outcome].emoji} lico-bench {escape(verdict.title)}: "
        f"{verdict.outcome.replace('_', ' ')}",
        "",
        escape(verdict.sentence),
    ]
    lines += [f"\n> {escape(note)}" for note in verdict.notes]
    available = MAX_LENGTH - sum(len(line) + 1 for line in lines)
    for outcome in _LOOKS:
        judgements = verdict.with_outcome(outcome)
        if judgements:
            lines.append(_section(outcome, judgements, available))
            available -= len(lines[-1]) + 1
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line, also in a table."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def _section(outcome: Outcome, judgements: tuple[Judgement, ...], available: int) -> str:
    title = f"{_LOOKS[outcome].heading}: {len(judgements)}"
    before, after = f"\n<details><summary>{title}</summary>\n", "\n</details>"
    if outcome in _EXPANDED:
        before, after = f"\n**{title}**\n", ""
    rows, used = [], len(before) + len(_HEADINGS) + len(after) + 200
    for number, judgement in enumerate(judgements):
        row = _row(judgement)
        used += len(row) + 1
        if used > available:
            rows.append(f"\n… and {len(judgements) - number} more; see the JUnit file")
            break
        rows.append(row)
    return "\n".join([before, _HEADINGS, *rows, after])


def _row(judgement: Judgement) -> str:
    is_compared = judgement.loss_low is not None
    cells = [
        escape(f"{judgement.models_text}: {judgement.score_text}"),
        judgement.means_text,
        judgement.loss_text if is_compared else escape(judgement.sentence),
        judgement.margin_text,
        escape(judgement.sample_text),
    ]
    return f"| {' | '.join(cells)} |"


def github_annotations(verdict: Verdict) -> Iterator[str]:
    """Yield one line per annotation, the worst outcome first and the verdict's sentence last."""
    for kind in ("error", "warning"):
        outcomes = [outcome for outcome, look in _LOOKS.items() if look.annotation == kind]
        selected = verdict.with_outcome(*outcomes)
        shown = selected if len(selected) <= MAX_PER_KIND else selected[: MAX_PER_KIND - 1]
        for judgement in shown:
            outcome = judgement.outcome.replace("_", " ")
            title = f"{outcome}: {judgement.models_text}, {judgement.score_text}"
            yield _command(kind, title, judgement.sentence)
        if len(selected) > len(shown):
            title = f"{len(selected) - len(shown)} more scores"
            yield _command(kind, title, "see the table in the log, or the JUnit file")
    yield _command("notice", f"lico-bench {verdict.title}", verdict.sentence)


def _command(kind: str, title: str, message: str) -> str:
    property_value = _escape_command(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={property_value}::{_escape_command(message)}"


def _escape_command(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def junit_xml(verdict: Verdict, *, timestamp: str) -> bytes:
    """Return JUnit XML as UTF-8, for build servers.

    Each score is a test case: a regression is a failure, a score that is not comparable an error,
    and an inconclusive score is skipped. A build server that reads only the XML shows an
    inconclusive verdict as passed; the exit code is 3.

    Valid against the schemas of Ant's JUnit reports (Windy Road) and of Jenkins' xUnit plugin.

    Args:
        timestamp: `2026-01-31T12:00:00`, without a time zone.
    """
    root = Element("testsuites")
    suite = SubElement(
        root,
        "testsuite",
        name=_xml_text(f"lico-bench {verdict.title}"),
        package="lico_bench",
        id="0",
        timestamp=timestamp,
        hostname="localhost",
        tests=str(len(verdict.judgements)),
        failures=str(len(verdict.with_outcome("regression"))),
        errors=str(len(verdict.with_outcome("not_comparable"))),
        skipped=str(len(verdict.with_outcome("inconclusive"))),
        time="0",
    )
    properties = SubElement(suite, "properties")
    for name, value in (("verdict", verdict.sentence), *(("note", n) for n in verdict.notes)):
        SubElement(properties, "property", name=name, value=_xml_text(value))
    for judgement in verdict.judgements:
        _add_case(suite, judgement)
    SubElement(suite, "system-out").text = _xml_text(verdict.sentence)
    SubElement(suite, "system-err")
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_case(suite: Element, judgement: Judgement) -> None:
    models = (judgement.dataset, judgement.backbone, judgement.labels, judgement.arm)
    case = SubElement(
        suite,
        "testcase",
        name=_xml_token(f"{judgement.metric} of {judgement.method or 'the model'}"),
        # Build servers split the class name at dots.
        classname=".".join(_xml_token(part).replace(".", "_") for part in models),
        time="0",
    )
    tag = _LOOKS[judgement.outcome].tag
    if tag:
        message = _xml_text(judgement.sentence)
        SubElement(case, tag, type=judgement.outcome, message=message).text = _xml_text(
            f"{judgement.models_text}: {judgement.score_text}\n"
            f"{judgement.means_text}; loss {judgement.loss_text} (one-sided 95 % bounds), "
            f"margin {judgement.margin_text}; {judgement.sample_text}"
        )


def _xml_text(value: str) -> str:
    return _INVALID_XML.sub("\ufffd", value)


def _xml_token(value: str) -> str:
    """Collapse whitespace, as the schema requires of names."""
    return " ".join(_xml_text(value).split())
