"""Compare the estimated duration of `run`, with and without `--calibrate`, with the measured one.

Each suite is calibrated and then run by separate commands with separate caches. The duration is
measured from the line with the estimate to the end of the command, as wall time and processor time.
Limits: the quick estimate within a factor of 1.5, the calibrated one within 30 %. Another load on
the machine invalidates both; it shows as wall time above processor time. Arguments: names of
suites; all by default.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

LOOK_FACTOR, CALIBRATED_SHARE = 1.5, 0.30
LINE = re.compile(r"(?:About|Roughly) (?:(\d+) h )?(\d+) (s|min) for ")
SUITES = {
    "smoke": "--datasets cifar10 --profile smoke",
    "smoke, 3 datasets": "--datasets cifar10,cub200,svhn --profile smoke",
    "quick, 1 epoch, 1 seed": "--datasets cifar10 --seeds 1 --set recipe.epochs=1",
    "lico_mm and cgc": "--datasets flowers --profile smoke --arms lico_mm,cgc "
    "--set recipe.epochs=3",
    "wrn_16_1": "--datasets svhn --profile smoke --set recipe.backbone=wrn_16_1 "
    "--set recipe.train_limit=1024",
    "64 px": "--datasets cars --profile smoke --set recipe.image_size=64",
    "five methods": "--datasets cifar10 --profile smoke --arms baseline --limit 32 "
    "--methods grad_cam,score_cam,gradient,rise(num_masks=100),random_map",
}


class Measured(NamedTuple):
    """Estimated and measured seconds of a command; `said` is the estimate."""

    said: float
    clock: float
    processor: float
    line: str


def lico_bench(words: list[str], cache: Path) -> Measured:
    """Run the command line and measure it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "lico_bench", "run", "--data", "standin", "--device", "cpu", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    said, line, used = 0.0, "", 0.0
    assert process.stdout is not None
    shown = []
    for text in process.stdout:
        shown.append(text)
        if found := LINE.search(text):
            hours, number, unit = found.groups()
            said = 3600 * int(hours or 0) + int(number) * (60 if unit == "min" else 1)
            line, used = text.strip(), processor_seconds(process.pid)
            if "--plan" not in words:
                started = time.perf_counter()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not line:
        sys.exit("".join(shown))
    processor = usage.ru_utime + usage.ru_stime - used
    return Measured(said, time.perf_counter() - started, processor, line)


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print a row per suite."""
    print(
        "| suite | look | --calibrate (took) | measured | processor | look | --calibrate | load |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    is_good = True
    for name in sys.argv[1:] or SUITES:
        words = SUITES[name].split()
        with tempfile.TemporaryDirectory() as folder:
            out = ["--out", f"{folder}/run"]
            kept, none = Path(folder) / "kept", Path(folder) / "none"
            message = lico_bench([*words, *out, "--plan", "--calibrate"], kept)
            run = lico_bench([*words, *out], none)
        look, calibrated = run.said / run.clock, message.said / run.clock
        is_good &= 1 / LOOK_FACTOR <= look <= LOOK_FACTOR
        is_good &= abs(calibrated - 1) <= CALIBRATED_SHARE
        print(
            f"| {name} | {run.said:.0f} s | {message.said:.0f} s ({message.clock:.0f} s) "
            f"| {run.clock:.0f} s | {run.processor:.0f} s | {look:.2f} | {calibrated:.2f} "
            f"| {os.getloadavg()[0]:.1f} |\n  {run.line}",
            flush=True,
        )
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
