"""What `run --plan` predicts after `--calibrate`, against what the run then takes.

Each suite is calibrated, predicted, and run in a process of its own, from the command to the
report. Bar: every prediction within 30 %. Another program at work on the machine between the two
spoils it: the load is printed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lico_bench.bench import Suite, make_plan
from lico_bench.bench.calibration import Calibration, machine_facts
from lico_bench.bench.cost import PlanCost, predict_cost
from lico_bench.bench.measuring import calibrate
from lico_bench.report import build_report
from lico_bench.runtime import pick_device

BAR = 0.30
METRICS = ("insertion", "deletion", "overall", "pointing_game")
SUITES = {
    "cifar10, two arms": Suite(
        datasets=("cifar10",), seeds=2, methods=("grad_cam", "random_map"), metrics=METRICS,
        data="standin", limit=128,
    ),
    "cub200, two arms": Suite(
        datasets=("cub200",), seeds=1, methods=("grad_cam", "random_map"), metrics=METRICS,
        data="standin", limit=64,
    ),
    "svhn, more methods": Suite(
        datasets=("svhn",), seeds=1, limit=48, metrics=METRICS, data="standin",
        methods=("grad_cam", "score_cam", "gradient", "rise(num_masks=200)", "random_map"),
    ),
    "flowers and cars, three arms": Suite(
        datasets=("flowers", "cars"), arms=("baseline", "lico", "cgc"), seeds=1, limit=32,
        methods=("grad_cam", "random_map"), metrics=METRICS, data="standin",
    ),
}  # fmt: skip


def run_suite(suite: Suite, out: Path) -> float:
    """Seconds of the whole command."""
    started = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "lico_bench", "run", "--datasets", ",".join(suite.datasets),
            "--arms", ",".join(suite.arms), "--seeds", str(suite.seeds), "--methods",
            ",".join(suite.methods), "--metrics", ",".join(suite.metrics), "--limit",
            str(suite.limit), "--data", "standin", "--device", "cpu", "--out", str(out),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - started


def show_parts(cost: PlanCost) -> str:
    """Where the predicted seconds go."""
    return (
        f"start {cost.start:.0f}, loading {cost.loading:.0f}, "
        f"training {sum(cell.training for cell in cost.cells):.0f}, "
        f"scoring {sum(cell.scoring for cell in cost.cells):.0f}, "
        f"storing {sum(cell.fixed for cell in cost.cells):.0f}, report {cost.report:.0f}; "
        f"{cost.measured_share:.0%} of it timed here"
    )


def main() -> None:
    """Measure and print."""
    wanted = sys.argv[1:] or list(SUITES)
    is_good = True
    for name in wanted:
        plan = make_plan(SUITES[name])
        started = time.perf_counter()
        nothing = Calibration(machine_facts(pick_device("cpu")))
        known = calibrate(plan, nothing, device="cpu", write_report=build_report)
        took = time.perf_counter() - started
        cost = predict_cost(plan, known)
        assert cost is not None
        with tempfile.TemporaryDirectory() as folder:
            actual = run_suite(SUITES[name], Path(folder) / "run")
        error = cost.seconds / actual - 1
        is_good &= abs(error) <= BAR
        print(
            f"{name}: predicted {cost.seconds:.0f} s, took {actual:.0f} s, {error:+.0%} "
            f"(calibrated in {took:.0f} s, load {os.getloadavg()[0]:.1f})\n  {show_parts(cost)}",
            flush=True,
        )
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
