"""The application: its commands, and what every error looks like from outside.

Exit codes: 0 well, 1 a regression and nothing else, 2 usage or bad input, 3 an inconclusive gate,
4 not comparable, 5 a run that is finished but for cells that failed, 6 a failed self-check, 7 a
damaged run or dataset, 70 a fault of lico-bench, 75 preempted (SIGTERM: start the same command
again), 130 interrupted.
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
from lico_bench.cli.environment import ignore_plot_settings, make_streams_safe
from lico_bench.cli.exit_codes import BAD_INPUT, INTERRUPTED
from lico_bench.cli.explain import explain
from lico_bench.cli.ls import ls
from lico_bench.cli.publish import publish
from lico_bench.cli.report import report
from lico_bench.cli.run import run
from lico_bench.cli.score import score
from lico_bench.cli.self_check import self_check
from lico_bench.cli.system_errors import message
from lico_bench.cli.verify import verify
from lico_bench.errors import EXIT_PREEMPTED, LicoBenchError, Preempted

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
    """Run the command line and exit; every error becomes one sentence."""
    make_streams_safe()
    ignore_plot_settings()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _preempt)
    try:
        # Left to itself the library would exit with 1 for a pipe that broke.
        code = app(standalone_mode=False) or 0
    except LicoBenchError as error:
        code = _ended(str(error), BAD_INPUT)
    except _Interrupted:
        code = _ended(f"interrupted. {GO_ON}", INTERRUPTED, before="\n")
    except Preempted:
        _leave(_ended(f"preempted. {GO_ON}", EXIT_PREEMPTED, before="\n"))
    except (Exception, SystemExit) as error:
        code = BAD_INPUT if _is_shown(error) else _ended(*message(error))
    finally:
        if signal.getsignal(signal.SIGTERM) is _preempt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(code)


def _ended(sentence: str, code: int, *, before: str = "") -> int:
    print(f"{before}lico-bench: {sentence}", file=sys.stderr)
    return code


def _is_shown(error: BaseException) -> bool:
    """Whether it was about the words of the command, and the library said so."""
    show = getattr(error, "show", None)  # the library has no public name for their class
    if not (callable(show) and hasattr(error, "exit_code")):
        return False
    show()
    return True


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise _Interrupted


def _leave(code: int) -> None:
    """End the process now: the interpreter's own ending takes seconds where torch is loaded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _preempt(_signum: int, _frame: FrameType | None) -> None:
    raise Preempted  # nothing is under way that could be stored; a run has a handler of its own
