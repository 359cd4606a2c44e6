"""Cells on a real Ray cluster of two machines (two raylets here), one of which is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.bench.executors import ray_session
from lico_bench.bench.executors.ray_tasks import FOLDER
from lico_bench.cli import main
from lico_bench.cli.progress import LineReporter
from lico_bench.errors import EXIT_PREEMPTED, ClusterError, InvalidInputError, Preempted
from lico_bench.store import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Ray leaves sockets and files to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SOON_S = 300  # on a busy machine
GRACE_S = 10  # that a preempted process has
# A dead machine is found in seconds; Ray's default timeout is half a minute.
HEALTH = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
}
LONG = Suite(
    ("cifar10",), seeds=1, profile="smoke", methods=("grad_cam", "random_map"), limit=8,
    data="standin",
    changes={
        "epochs": 6, "train_limit": 64, "batch_size": 32, "backbone": "wrn_10_1",
        "precision": "float32",
    },
)  # fmt: skip
SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from {Path(__file__).stem} import run_until_preempted
run_until_preempted(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def ray() -> Any:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        os.environ.pop(name, None)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    return pytest.importorskip("ray", reason="ray is not installed: uv sync --extra ray")


@pytest.fixture(scope="module")
def cluster(ray: Any) -> Iterator[Any]:
    """A head and a worker node with a CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": HEALTH})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the undisturbed local run of LONG stores."""
    out = tmp_path_factory.mktemp("whole") / "run"
    execute(make_plan(LONG), out, options=ExecutorOptions(device="cpu"), reporter=quiet())
    return stored(out)


def quiet() -> LineReporter:
    return LineReporter(Console(quiet=True))


def run_on(address: str | None, suite: Suite, out: Path, reporter: Any = None) -> RunFolder:
    return execute(
        make_plan(suite), out, executor="ray",
        options=ExecutorOptions(device="cpu", address=address), reporter=reporter or quiet(),
    )  # fmt: skip


def run_until_preempted(address: str, out: Path) -> None:
    """Run LONG until it is preempted; called by SCRIPT in a process of its own."""
    try:
        run_on(address, LONG, out)
    except Preempted:
        sys.exit(EXIT_PREEMPTED)


def start(address: str, out: Path) -> subprocess.Popen[str]:
    """A process that runs LONG into `out`."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, address, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stored(out: Path) -> dict[str, bytes]:
    """Weights, rows and curves of each cell."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in ("model.safetensors", "rows.parquet", "curves.parquet")
        for path in sorted(out.glob(f"cells/*/{name}"))
    }


def wait_for(is_so: Callable[[], object]) -> bool:
    deadline = time.monotonic() + SOON_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(is_so())


def hold_in_training(out: Path, arm: str) -> int:
    """Stop the process that trains `arm` after its first epoch; its number."""
    found: list[int] = []
    assert wait_for(lambda: found.extend(tasks(f"ray::cifar10 {arm} seed 0: training")) or found)
    assert wait_for(lambda: list(out.glob(f"cells/*-{arm}-*/checkpoint.pt")))
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


def tasks(title: str) -> list[int]:
    """Processes that work at the task called so."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().decode(errors="replace").startswith(title):
                found.append(int(process.name))
    return found


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_preempted_run_goes_on_elsewhere_to_the_same_bits(cluster, whole, tmp_path):
    out = tmp_path / "run"
    process = start(cluster.address, out)
    try:
        held = [hold_in_training(out, arm) for arm in ("baseline", "lico")]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        for task in held:
            os.kill(task, signal.SIGCONT)
        said, _ = process.communicate(timeout=SOON_S)
        took_s = time.monotonic() - began
    finally:
        process.kill()
    assert process.returncode == EXIT_PREEMPTED
    assert took_s < GRACE_S
    assert said == ""  # Ray has much to say, and none of it helps whoever waits for a result
    assert not list(out.glob("cells/*/done.json"))
    assert not (out / FOLDER).exists()
    # A cluster of its own, which ends with it. In a process of its own too: in one that has left
    # another cluster, Ray 2.60 takes the owner of new objects for dead.
    again = start("local", out)
    said, _ = again.communicate(timeout=SOON_S)
    assert again.returncode == 0, said
    assert stored(out) == whole


def test_a_cell_that_fails_is_recorded_and_the_others_go_on(cluster, suite, tmp_path, reporter):
    hot = replace(suite, objective={"alpha": 1e38, "beta": 1e38})
    run = run_on(cluster.address, hot, tmp_path / "run", reporter)
    assert [key.split("-")[2] for key in run.finished()] == ["baseline"]
    (failure,) = run.failures().values()
    assert (failure.error, failure.stage) == ("TrainingError", "training")
    assert [event[2] for event in reporter.of("stage")].count("training") == 2
    assert any("FAILED in training" in event[2] for event in reporter.of("finish"))


def test_more_threads_than_any_machine_has_are_refused(cluster, suite, tmp_path, monkeypatch):

    monkeypatch.setattr(ray_session, "threads_per_worker", lambda _workers: 64)
    with pytest.raises(ClusterError, match="no machine of the cluster has the 64 CPUs"):
        run_on(cluster.address, suite, tmp_path / "run")


def test_a_machine_killed_while_it_works_loses_nothing(cluster, whole, tmp_path, reporter):
    out, killed = tmp_path / "run", []
    (node,) = cluster.worker_nodes
    raylet = node.all_processes["raylet"][0].process.pid

    def kill() -> None:
        held = {arm: hold_in_training(out, arm) for arm in ("baseline", "lico")}
        (there,) = (arm for arm, process in held.items() if parent_of(process) == raylet)
        killed.append(there)
        for process in (raylet, held.pop(there)):
            os.kill(process, signal.SIGKILL)
        for process in held.values():
            os.kill(process, signal.SIGCONT)

    thread = threading.Thread(target=kill)
    thread.start()
    run_on(cluster.address, LONG, out, reporter)
    thread.join()
    assert len(killed) == 1
    assert stored(out) == whole
    lost = [event[1] for event in reporter.events if event[0] == "note" and "was lost" in event[1]]
    assert len(lost) == 1
    assert killed[0] in lost[0]
    assert not (out / FOLDER).exists()


def test_a_wrong_address_is_a_sentence_within_seconds(ray, tmp_path, monkeypatch, capsys):
    began = time.monotonic()
    monkeypatch.setattr(
        sys, "argv",
        ["lico-bench", "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin",
         "--executor", "ray", "--address", "127.0.0.1:1", "--out", str(tmp_path / "run")],
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "no Ray cluster answers at 127.0.0.1:1" in capsys.readouterr().err
    assert time.monotonic() - began < 30


def test_shared_trainings_are_refused(suite, tmp_path):
    with pytest.raises(InvalidInputError, match="--devices and --num-nodes"):
        execute(
            make_plan(suite), tmp_path / "run", executor="ray",
            options=ExecutorOptions(device="cpu", devices=2), reporter=quiet(),
        )  # fmt: skip
