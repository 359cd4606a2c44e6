"""JUnit XML of a verdict, for build servers.

Each score is a test case: a regression is a failure, a score that is not comparable an error, and
an inconclusive score is skipped. A build server that reads only the XML shows an inconclusive
verdict as passed; the exit code is 3.

Written with the standard library: the package junit-xml has had no release since 2020. Valid
against the schemas of Ant's JUnit reports (Windy Road) and of Jenkins' xUnit plugin.
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
# Characters that XML 1.0 does not allow, not even escaped.
_INVALID_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(verdict: Verdict, *, timestamp: str) -> bytes:
    """Return the XML as UTF-8; `timestamp` is `2026-01-31T12:00:00`, without a time zone."""
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
        failures=str(len(verdict.with_outcome("regression"))),
        errors=str(len(verdict.with_outcome("not_comparable"))),
        skipped=str(len(verdict.with_outcome("inconclusive"))),
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
        # Build servers split the class name at dots.
        classname=".".join(_token(part).replace(".", "_") for part in models),
        time="0",
    )
    tag = _TAGS.get(judgement.outcome)
    if tag is not None:
        element = SubElement(case, tag, type=judgement.outcome, message=_text(judgement.sentence))
        element.text = _text(
            f"{formatting.models_text(judgement)}: {formatting.score_text(judgement)}\n"
            f"{formatting.means_text(judgement)}; loss {formatting.loss_text(judgement)} "
            f"(one-sided 95 % bounds), margin {formatting.margin_text(judgement)}; "
            f"{formatting.basis_text(judgement)}"
        )


def _text(value: str) -> str:
    return _INVALID_XML.sub("�", value)


def _token(value: str) -> str:
    """Collapse whitespace, as the schema requires of names."""
    return " ".join(_text(value).split())
