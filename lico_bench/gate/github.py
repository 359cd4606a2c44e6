"""Text of a verdict for GitHub: a pull-request comment in Markdown, and annotations of the checks.

Source of the annotations: GitHub Docs, "Workflow commands for GitHub Actions" (escapes; ten per
kind and step).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lico_bench.gate import formatting
from lico_bench.gate.judgement import Judgement, Outcome, Verdict

MAX_LENGTH = 60_000  # characters; GitHub allows 65,536 in a comment
_EMOJI: dict[Outcome, str] = {
    "regression": "❌",
    "not_comparable": "🚫",
    "inconclusive": "❓",
    "pass": "✅",
    "better": "✅",
}
_EXPANDED: tuple[tuple[Outcome, str], ...] = (
    ("regression", "Worse by more than the margin"),
    ("not_comparable", "Not comparable"),
)
_COLLAPSED: tuple[tuple[Outcome, str], ...] = (
    ("inconclusive", "Inconclusive"),
    ("better", "Better"),
    ("pass", "Not worse by more than the margin"),
)
_HEADINGS = (
    "| Score | Before → after | Loss [one-sided 95 % bounds] | Margin | Sample |\n"
    "|---|---|---|---|---|"
)
# Characters of GitHub's markup, tags, mentions, references, addresses and emoji.
_SPECIAL = re.compile(r"[\\`*_\[\]<>#|~@&$]|:(?=\S)")
MAX_PER_KIND = 10  # GitHub drops the rest
_KINDS: tuple[tuple[str, tuple[Outcome, ...]], ...] = (
    ("error", ("regression", "not_comparable")),
    ("warning", ("inconclusive",)),
)


def markdown(verdict: Verdict) -> str:
    """Return the comment; sections without failures are collapsed.

    Sections that would make the comment too long are cut, with a count.
    """
    lines = [
        f"<!-- lico-bench {escape(verdict.title)} -->",
        f"### {_EMOJI[verdict.outcome]} lico-bench {escape(verdict.title)}: "
        f"{formatting.outcome_text(verdict.outcome)}",
        "",
        escape(verdict.sentence),
    ]
    lines += [f"\n> {escape(note)}" for note in verdict.notes]
    available = MAX_LENGTH - sum(len(line) + 1 for line in lines)
    for outcome, title in (*_EXPANDED, *_COLLAPSED):
        judgements = verdict.with_outcome(outcome)
        if judgements:
            is_expanded = outcome in dict(_EXPANDED)
            section = _section(
                f"{title}: {len(judgements)}", judgements, available, is_expanded=is_expanded
            )
            lines.append(section)
            available -= len(section) + 1
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line, also in a table."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def _section(
    title: str, judgements: tuple[Judgement, ...], available: int, *, is_expanded: bool
) -> str:
    before, after = f"\n**{title}**\n", ""
    if not is_expanded:
        before, after = f"\n<details><summary>{title}</summary>\n", "\n</details>"
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
    score = f"{formatting.models_text(judgement)}: {formatting.score_text(judgement)}"
    is_compared = judgement.loss_low is not None
    cells = [
        escape(score),
        formatting.means_text(judgement),
        formatting.loss_text(judgement) if is_compared else escape(judgement.sentence),
        formatting.margin_text(judgement),
        escape(formatting.basis_text(judgement)),
    ]
    return f"| {' | '.join(cells)} |"


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
    property_value = _escape_command(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={property_value}::{_escape_command(message)}"


def _escape_command(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
