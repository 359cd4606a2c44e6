"""`lico-bench self-check`: test metrics and saliency methods on scenes with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.console import loading, new_console, say, working
from lico_bench.cli.exit_codes import SELF_CHECK_FAILED
from lico_bench.cli.options import check_names

if TYPE_CHECKING:
    from rich.table import Table

    from lico_bench.evaluation.known_answers import Finding, SelfCheck

SCENES = ("planted_cue", "plain")
LOG_WIDTH = 140  # characters per line in a pipe or file


def self_check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Metrics and saliency methods, such as deletion or rise(num_masks=200). "
            "Default: all."
        ),
    ] = None,
    load: Annotated[
        Path | None,
        typer.Option(help="Python file to import first; it registers metrics or methods."),
    ] = None,
    scenes: Annotated[
        str,
        typer.Option(help="planted_cue (a mark determines the class) or plain (the object does)."),
    ] = "planted_cue",
    quick: Annotated[bool, typer.Option("--quick", help="Use a third of the scenes.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="List every check, not only failures.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the scenes' network and random draws.")] = 0,
) -> None:
    """Test metrics and methods on scenes with known answers.

    With --load and no name, only the entries that the file registers are tested. Exit codes:
    0 all checks passed, 6 a check failed, 2 bad input.
    """
    _check_options(names or (), load, scenes, seed)
    with loading("self-check", "torch"):
        from lico_bench.evaluation.known_answers import load_entries
        from lico_bench.evaluation.known_answers import self_check as run_checks

    requested = tuple(names or ())
    if load is not None:
        added = load_entries(load)
        requested = requested or added
    with working(new_console(stderr=True), "training a network on scenes") as status:

        def progress(message: str, done: int, total: int) -> None:
            if hasattr(status, "update"):
                status.update(f"{message} ({done} of {total})")

        result = run_checks(requested, variant=scenes, quick=quick, seed=seed, progress=progress)
    console = new_console()
    if not console.is_terminal:
        console.width = max(console.width, LOG_WIDTH)
    shown = result.findings
    if not requested and not verbose:
        console.print(_summary(result))
        shown = tuple(finding for finding in shown if finding.verdict != "pass")
    if shown:
        console.print(_table(shown))
    say(console, *_reasons(result), _closing(result))
    raise typer.Exit(0 if result.passed else SELF_CHECK_FAILED)


def _check_options(names: Sequence[str], load: Path | None, scenes: str, seed: int) -> None:
    from lico_bench.checks import check_choice, check_count
    from lico_bench.errors import MissingDataError

    check_choice("scenes", scenes, SCENES)
    check_count("--seed", seed, at_least=0)
    if load is None:
        check_names("metric or method", names)
    elif not load.is_file():
        raise MissingDataError(f"--load {load}: no such file; name a Python file")


def _table(findings: tuple[Finding, ...]) -> Table:
    """Return a table with one row per check."""
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
    """Return one line per declared reason of known failures, with the entries it applies to."""
    entries: dict[str, list[str]] = {}
    for finding in result.findings:
        if finding.verdict == "known" and finding.subject not in entries.get(finding.reason, []):
            entries.setdefault(finding.reason, []).append(finding.subject)
    return [f"known, {', '.join(names)}: {reason}" for reason, names in entries.items()]


def _summary(result: SelfCheck) -> Table:
    """Return a table with one row per metric or method."""
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
    num_known = verdicts.count("known")
    known = f", {num_known} failed for a declared reason" if num_known else ""
    return (
        f"{verdicts.count('pass')} of {len(verdicts)} checks passed{known}, "
        f"{verdicts.count('FAIL')} failed. {result.num_images} {result.variant} scenes; "
        f"the network's accuracy on new scenes is {100 * result.accuracy:.1f} %."
    )
