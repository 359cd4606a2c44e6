"""Fixture that calls the command line in this process."""

from __future__ import annotations

import sys
from typing import NamedTuple

# Commands report the libraries they import on stderr; if imported here, stderr has only errors.
import matplotlib as mpl  # noqa: F401
import pandas as pd  # noqa: F401
import pytest
import torch  # noqa: F401

from lico_bench.cli import main


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call_cli(monkeypatch, capsys):
    """Call the command line with arguments; return exit code and output."""

    def call(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["lico-bench", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, *capsys.readouterr())

    return call
