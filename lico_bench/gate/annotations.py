"""GitHub annotations of a verdict, shown with the checks of a pull request.

Source: GitHub Docs, "Workflow commands for GitHub Actions" (escapes; ten per kind and step).
"""

from __future__ import annotations

from collections.abc import Iterator

from lico_bench.gate import formatting
from lico_bench.gate.judgement import Outcome, Verdict

MAX_PER_KIND = 10  # GitHub drops the rest
_KINDS: tuple[tuple[str, tuple[Outcome, ...]], ...] = (
    ("error", ("regression", "not_comparable")),
    ("warning", ("inconclusive",)),
)


def github_annotations(verdict: Verdict) -> Iterator[str]:
    """Yield one line per annotation, the worst outcome first and the verdict's sentence last."""
    for kind, outcomes in _KINDS:
        selected = verdict.with_outcome(*outcomes)
        shown = selected if len(selected) <= MAX_PER_KIND else selected[: MAX_PER_KIND - 1]
        for judgement in shown:
            title = f"{formatting.models_text(judgement)}, {formatting.score_text(judgement)}"
            yield _command(kind, f"{formatting.outcome_text(judgement.outcome)}: {title}",
                           judgement.sentence)  # fmt: skip
        if len(selected) > len(shown):
            title = f"{len(selected) - len(shown)} more scores"
            yield _command(kind, title, "see the table in the log, or the JUnit file")
    yield _command("notice", f"lico-bench {verdict.title}", verdict.sentence)


def _command(kind: str, title: str, message: str) -> str:
    property_value = _escape(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={property_value}::{_escape(message)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
