"""The application: its commands, and what every error looks like from outside.

Exit codes: 0 well, 1 a failed gate, 2 usage or bad input, 3 an inconclusive gate, 4 not comparable,
130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from lico_bench.cli.check import check
from lico_bench.cli.ls import ls
from lico_bench.cli.report import report
from lico_bench.cli.run import run
from lico_bench.errors import LicoBenchError

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Train baseline and LICO models as pairs and measure what it does to their saliency maps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (run, report, check, ls):
    app.command()(_command)


def main() -> None:
    """Run the command line; our errors become one sentence and exit code 2."""
    try:
        app()
    except LicoBenchError as error:
        print(f"lico-bench: {error}", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT) from None
    except KeyboardInterrupt:
        print(
            "\nlico-bench: interrupted. What is finished is stored; "
            "repeat the same command to go on from there.",
            file=sys.stderr,
        )
        raise SystemExit(EXIT_INTERRUPTED) from None
