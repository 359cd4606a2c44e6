"""`lico-bench self-check`: can a metric or a method be believed?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.exit_codes import SELF_CHECK_FAILED
from lico_bench.cli.loading import loading
from lico_bench.cli.names import check_names

if TYPE_CHECKING:
    from rich.table import Table

    from lico_bench.evaluation.known_answers import Finding, SelfCheck

SCENES = ("planted_cue", "plain")
LOG_WIDTH = 140  # of a pipe or file, which knows none


def self_check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Metrics and methods, such as deletion or rise(num_masks=200)."),
    ] = None,
    load: Annotated[
        Path | None,
        typer.Option(help="A Python file of yours that registers some, imported first."),
    ] = None,
    scenes: Annotated[
        str,
        typer.Option(help="planted_cue (a mark tells the class) or plain (the object does)."),
    ] = "planted_cue",
    quick: Annotated[bool, typer.Option("--quick", help="A third of the scenes.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Every check, also when everything is asked.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the scenes' network and of every draw.")] = 0,
) -> None:
    """Ask metrics and methods questions whose answers are known; all of them if none is named.

    With --load and no name, what the file registers is asked. Exit codes: 0 all answers are as
    they must be, 6 a check failed, 2 bad input.
    """
    from lico_bench.checks import check_choice, check_count
    from lico_bench.errors import MissingDataError

    check_choice("scenes", scenes, SCENES)
    check_count("--seed", seed, at_least=0)
    if load is None:
        check_names("metric or method", names or ())
    elif not load.is_file():
        raise MissingDataError(f"--load {load}: no such file; name a Python file")
    with loading("self-check", "torch"):
        from lico_bench.cli.console import new_console
        from lico_bench.cli.progress import working
        from lico_bench.evaluation.known_answers import load_entries
        from lico_bench.evaluation.known_answers import self_check as ask

    requested = tuple(names or ())
    if load is not None:
        added = load_entries(load)
        requested = requested or added
    errors = new_console(stderr=True)
    with working(errors, "training a network on scenes whose reason is known") as status:

        def progress(what: str, done: int, total: int) -> None:
            if hasattr(status, "update"):
                status.update(f"{what} ({done} of {total})")

        result = ask(requested, variant=scenes, quick=quick, seed=seed, progress=progress)
    console = new_console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    shown = result.findings
    if not requested and not verbose:
        console.print(_summary(result))
        shown = tuple(finding for finding in shown if finding.verdict != "pass")
    if shown:
        console.print(_table(shown))
    for line in (*_reasons(result), _closing(result)):
        console.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if result.passed else SELF_CHECK_FAILED)


def _table(findings: tuple[Finding, ...]) -> Table:
    """One line per check."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("entry", no_wrap=True)
    table.add_column("check", overflow="fold")
    for heading in ("expected", "measured", "margin"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("case", overflow="fold")
    previous = ""
    for finding in findings:
        sign = ">=" if finding.is_floor else "<="
        table.add_row(
            finding.subject if finding.subject != previous else "", finding.check,
            f"{sign} {finding.limit:.3g}", f"{finding.measured:.3g}", f"{finding.margin:+.2g}",
            finding.verdict, finding.detail,
        )  # fmt: skip
        previous = finding.subject
    return table


def _reasons(result: SelfCheck) -> list[str]:
    """One sentence per declared reason, with whom it excuses."""
    excused: dict[str, list[str]] = {}
    for finding in result.findings:
        if finding.verdict == "known" and finding.subject not in excused.get(finding.reason, []):
            excused.setdefault(finding.reason, []).append(finding.subject)
    return [f"known, {', '.join(who)}: {reason}" for reason, who in excused.items()]


def _summary(result: SelfCheck) -> Table:
    """One line per entry."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("entry", no_wrap=True)
    for heading in ("checks", "pass", "known", "FAIL"):
        table.add_column(heading, justify="right", no_wrap=True)
    for subject in dict.fromkeys(finding.subject for finding in result.findings):
        verdicts = [f.verdict for f in result.findings if f.subject == subject]
        counts = (verdicts.count(verdict) for verdict in ("pass", "known", "FAIL"))
        table.add_row(subject, str(len(verdicts)), *(str(count) for count in counts))
    return table


def _closing(result: SelfCheck) -> str:
    verdicts = [finding.verdict for finding in result.findings]
    known = verdicts.count("known")
    message = f", {known} failed for a declared reason" if known else ""
    return (
        f"{verdicts.count('pass')} of {len(verdicts)} checks passed{message}, "
        f"{verdicts.count('FAIL')} failed. {result.num_images} {result.variant} scenes, "
        f"explained by a network that gets {100 * result.accuracy:.1f} % of unseen ones right."
    )
