"""Runs of the command line for fault injection, and the comparison of their results.

Each run is a process forked from one that has imported all modules, so that fifty starts take
seconds instead of minutes. It calls the entry point of the command line.
"""

from __future__ import annotations

import importlib
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lico_bench.cli import main as call_command_line
from lico_bench.store import read_json, read_parquet

for _heavy in (  # imports of a run that take seconds each
    "lico_bench.bench.executors.local", "lico_bench.bench.verify_run", "lico_bench.report",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "rich.progress", "torch.utils.flop_counter", "torchvision.transforms.v2",
):  # fmt: skip
    importlib.import_module(_heavy)

SUITE = (
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--device", "cpu",
    "--limit", "8", "--methods", "grad_cam", "--metrics", "insertion,deletion",
    "--set", "recipe.epochs=3", "--set", "recipe.text_encoder=random",
    "--set", "recipe.train_limit=192",
)  # fmt: skip
LOOK_EVERY_S = 0.002
PATIENCE_S = 1800.0
TIMES = ("elapsed_s", "train_elapsed_s")  # measured times differ between runs


@dataclass
class Run:
    """A process that runs the suite into `folder` and prints to `log`."""

    pid: int
    folder: Path
    log: Path
    started: float
    code: int | None = None
    took_s: float = 0.0

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                self.took_s = time.monotonic() - self.started
        return self.code

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        while self.poll() is None:
            if time.monotonic() - self.started > PATIENCE_S:
                self.send(signal.SIGKILL)
                raise SystemExit(f"a run did not end within {PATIENCE_S:.0f} s: {self.log}")
            time.sleep(LOOK_EVERY_S)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def message(self) -> str:
        """Return the output so far on one line."""
        return " ".join(self.log.read_text(errors="replace").split())


def start(folder: Path, *more: str, prepare: Callable[[], None] = lambda: None) -> Run:
    """Start a process that runs the suite into `folder`.

    Args:
        more: additional command line arguments.
        prepare: called in the new process before it starts.
    """
    log = folder.parent / f"{folder.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_the_run(folder, log, more, prepare)
    return Run(pid, folder, log, time.monotonic())


def finish(folder: Path, *more: str) -> Run:
    """Resume the run in `folder` and wait for its end."""
    run = start(folder, *more)
    run.wait()
    return run


def stage_of(folder: Path) -> str:
    """Return the current stage of a run from the content of its folder."""
    # `os.walk` skips folders that are removed meanwhile; `Path.rglob` raises.
    names = (name for _, _, files in os.walk(folder) for name in files)
    if any(name.startswith(".") and name.endswith(".part") for name in names):
        return "writing"
    if not (folder / "manifest.json").is_file():
        return "starting"
    cells = list(folder.glob("cells/*"))
    if len(cells) == 2 and all((cell / "done.json").is_file() for cell in cells):
        return "ended" if (folder / "report" / "made_of.json").is_file() else "reporting"
    for cell in cells:
        if not (cell / "done.json").is_file():
            return (
                "explaining and scoring" if (cell / "model.safetensors").is_file() else "training"
            )
    return "between models"


def results(folder: Path) -> dict[str, Any]:
    """Return the content of a finished run by file, without times.

    Weights, scores, curves, gallery, tables, plots and page are bytes. History, manifest and cell
    records are returned without measured seconds and dates.
    """
    found: dict[str, Any] = {}
    manifest = read_json(folder / "manifest.json")
    began = manifest["started"]
    found["manifest.json"] = {k: v for k, v in manifest.items() if k not in ("started", "seal")}
    for path in sorted([*folder.glob("cells/*/*"), *folder.glob("report/**/*")]):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name in ("made_of.json", "model.safetensors.sha256"):
            continue
        if path.name == "history.parquet":
            history = read_parquet(path)
            found[name] = _without_times(history).to_csv(index=False)
        elif path.name == "done.json":
            found[name] = read_json(path)["rows"]
        elif path.name == "report.html":
            found[name] = path.read_text().replace(began, "")
        else:
            found[name] = path.read_bytes()
    return found


def differences(expected: dict[str, Any], folder: Path) -> list[str]:
    """Return files that are missing, additional or different from `expected`."""
    found = results(folder)
    names = sorted(set(expected) | set(found))
    return [name for name in names if expected.get(name) != found.get(name)]


def limit_file_size(size: int) -> None:
    """Limit files of this process to `size` bytes, to simulate a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _be_the_run(
    folder: Path, log: Path, more: tuple[str, ...], prepare: Callable[[], None]
) -> None:
    """Run the command line in the forked process; never returns."""
    code = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["lico-bench", *SUITE, "--out", str(folder), *more]
        prepare()
        call_command_line()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _without_times(history: pd.DataFrame) -> pd.DataFrame:
    return history[~history["quantity"].isin(TIMES)].reset_index(drop=True)


def names_in(text: str) -> set[str]:
    """Return the file names in a log."""
    return set(re.findall(r"[\w.-]+\.(?:parquet|json|safetensors|pt|html|sha256)", text))
