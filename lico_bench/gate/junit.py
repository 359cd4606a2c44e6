"""A verdict as JUnit XML, which build servers read.

A score is a test case: a regression is a failure; what could not be compared is an error, because
the question could not be put; what is undecided is skipped, because it was put and not answered.
A reader of the XML alone thus sees an undecided verdict as green: the exit code says 3.

Valid against the schema of Ant's JUnit reports (Windy Road) and of Jenkins' xUnit plugin.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from lico_bench.gate import formatting
from lico_bench.gate.judgement import Judgement, Outcome, Verdict

_TAGS: dict[Outcome, str] = {
    "regression": "failure",
    "not_comparable": "error",
    "inconclusive": "skipped",
}
# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(verdict: Verdict, *, timestamp: str) -> bytes:
    """The report as UTF-8; `timestamp` is `2026-01-31T12:00:00`, without a time zone."""
    root = Element("testsuites")
    suite = SubElement(
        root,
        "testsuite",
        name=_text(f"lico-bench {verdict.title}"),
        package="lico_bench",
        id="0",
        timestamp=timestamp,
        hostname="localhost",
        tests=str(len(verdict.judgements)),
        failures=str(len(verdict.those("regression"))),
        errors=str(len(verdict.those("not_comparable"))),
        skipped=str(len(verdict.those("inconclusive"))),
        time="0",
    )
    properties = SubElement(suite, "properties")
    for name, value in (("verdict", verdict.sentence), *(("note", n) for n in verdict.notes)):
        SubElement(properties, "property", name=name, value=_text(value))
    for judgement in verdict.judgements:
        _add_case(suite, judgement)
    SubElement(suite, "system-out").text = _text(verdict.sentence)
    SubElement(suite, "system-err")
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_case(suite: Element, judgement: Judgement) -> None:
    models = (judgement.dataset, judgement.backbone, judgement.labels, judgement.arm)
    case = SubElement(
        suite,
        "testcase",
        name=_token(f"{judgement.metric} of {judgement.method or 'the model'}"),
        # A dot parts packages.
        classname=".".join(_token(part).replace(".", "_") for part in models),
        time="0",
    )
    tag = _TAGS.get(judgement.outcome)
    if tag is not None:
        message = SubElement(case, tag, type=judgement.outcome, message=_text(judgement.sentence))
        message.text = _text(
            f"{formatting.where(judgement)}: {formatting.what(judgement)}\n"
            f"{formatting.means(judgement)}; worse by {formatting.loss(judgement)} "
            f"(95 % on each side), margin {formatting.margin(judgement)}; {formatting.basis(judgement)}"
        )


def _text(value: str) -> str:
    return _NO_XML.sub("�", value)


def _token(value: str) -> str:
    """Text without line breaks or spaces in a row, as the schema wants of names."""
    return " ".join(_text(value).split())
