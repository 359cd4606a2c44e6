"""Fixtures that call the command line, in this process or for a run on disk."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

# Commands report the libraries they import on stderr; if imported here, stderr has only errors.
import matplotlib as mpl  # noqa: F401
import pandas as pd  # noqa: F401
import pytest
import torch  # noqa: F401

from lico_bench.cli import main
from tests.cli.own_process import TINY, in_own_process


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


@pytest.fixture
def lico_bench(call_cli):
    """The command line, as a shell would see it."""
    return call_cli


@pytest.fixture(scope="session")
def _finished(made_once) -> Path:
    def build(folder: Path) -> None:
        folder.mkdir()
        done = in_own_process(*TINY, folder=folder)
        assert done.returncode == 0, done.stderr
        (folder / "output.txt").write_text(done.stdout)

    return made_once("finished_by_command", build)


@pytest.fixture
def finished(_finished, tmp_path) -> Path:
    """A folder with a run made by the command itself."""
    return Path(shutil.copytree(_finished, tmp_path / "finished"))
