"""The command-line application: commands, error messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

from lico_bench.cli.console import ignore_plot_settings, make_streams_safe
from lico_bench.cli.data import data
from lico_bench.cli.exit_codes import BAD_INPUT, INTERRUPTED, error_message
from lico_bench.cli.explain import explain
from lico_bench.cli.gate import check, compare
from lico_bench.cli.listings import doctor, ls
from lico_bench.cli.report import publish, report
from lico_bench.cli.run import run
from lico_bench.cli.score import score
from lico_bench.cli.self_check import self_check
from lico_bench.cli.tune import tune
from lico_bench.cli.verify import verify
from lico_bench.errors import EXIT_PREEMPTED, LicoBenchError, Preempted

RESUME_HINT = "Finished work is stored; repeat the same command to resume."

app = typer.Typer(
    help="Train pairs of baseline and LICO models and compare their saliency maps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (
    run,
    tune,
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
    """Ctrl-C as an exception that typer does not convert into its own."""


def main() -> None:
    """Run the command line and exit; print each error as one sentence."""
    make_streams_safe()
    ignore_plot_settings()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _preempt)
    try:
        # In standalone mode typer exits with 1 for a broken pipe.
        code = app(standalone_mode=False) or 0
    except LicoBenchError as error:
        code = _print_error(str(error), BAD_INPUT)
    except _Interrupted:
        code = _print_error(f"interrupted. {RESUME_HINT}", INTERRUPTED, before="\n")
    except Preempted:
        _exit_now(_print_error(f"preempted. {RESUME_HINT}", EXIT_PREEMPTED, before="\n"))
    except (Exception, SystemExit) as error:
        code = BAD_INPUT if _show_usage_error(error) else _print_error(*error_message(error))
    finally:
        if signal.getsignal(signal.SIGTERM) is _preempt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(code)


def _print_error(sentence: str, code: int, *, before: str = "") -> int:
    print(f"{before}lico-bench: {sentence}", file=sys.stderr)
    return code


def _show_usage_error(error: BaseException) -> bool:
    """Whether `error` is a usage error of typer; if so, typer prints it."""
    show = getattr(error, "show", None)  # typer has no public name for the class of these errors
    if not (callable(show) and hasattr(error, "exit_code")):
        return False
    show()
    return True


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise _Interrupted


def _exit_now(code: int) -> None:
    """End the process at once; the interpreter's shutdown takes seconds when torch is loaded."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _preempt(_signum: int, _frame: FrameType | None) -> None:
    raise Preempted  # there is nothing to store here; a run installs its own handler
