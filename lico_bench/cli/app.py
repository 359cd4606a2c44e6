"""The application: its commands, and what every error looks like from outside.

Exit codes: 0 well, 1 a failed gate or self-check or a damaged run, 2 usage or bad input, 3 an
inconclusive gate, 4 not comparable, 5 a run that is finished but for cells that failed, 75
preempted (SIGTERM: start the same command again), 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from lico_bench.cli.check import check
from lico_bench.cli.compare import compare
from lico_bench.cli.data import data
from lico_bench.cli.doctor import doctor
from lico_bench.cli.explain import explain
from lico_bench.cli.ls import ls
from lico_bench.cli.publish import publish
from lico_bench.cli.report import report
from lico_bench.cli.run import run
from lico_bench.cli.score import score
from lico_bench.cli.self_check import self_check
from lico_bench.cli.verify import verify
from lico_bench.errors import EXIT_PREEMPTED, LicoBenchError, Preempted

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
GO_ON = "What is finished is stored; repeat the same command to go on from there."

app = typer.Typer(
    help="Train baseline and LICO models as pairs and measure what it does to their saliency maps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    run,
    report,
    score,
    explain,
    check,
    compare,
    publish,
    ls,
    self_check,
    verify,
    doctor,
):
    app.command()(_command)
app.add_typer(data, name="data")


class _Interrupted(BaseException):
    """Ctrl-C in a form that the command-line library does not turn into its own."""


def main() -> None:
    """Run the command line; our errors become one sentence and exit code 2."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _preempt)
    try:
        app()
    except LicoBenchError as error:
        print(f"lico-bench: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from None
    except _Interrupted:
        print(f"\nlico-bench: interrupted. {GO_ON}", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except Preempted:
        print(f"\nlico-bench: preempted. {GO_ON}", file=sys.stderr)
        _leave(EXIT_PREEMPTED)
    finally:
        if signal.getsignal(signal.SIGTERM) is _preempt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise _Interrupted


def _leave(code: int) -> None:
    """End the process now: the interpreter's own ending takes seconds where torch is loaded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _preempt(_signum: int, _frame: FrameType | None) -> None:
    raise Preempted  # nothing is under way that could be stored; a run has a handler of its own
