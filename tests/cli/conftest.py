"""The command line called in this process: what a shell would get of it."""

from __future__ import annotations

import sys
from typing import NamedTuple

# A command tells on stderr what it loads; with these loaded, stderr holds its errors alone.
import matplotlib as mpl  # noqa: F401
import pandas as pd  # noqa: F401
import pytest
import torch  # noqa: F401

from lico_bench.cli import main


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call_cli(monkeypatch, capsys):
    """Call the command line with words and get exit code and output."""

    def call(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["lico-bench", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Done(code, *capsys.readouterr())

    return call
