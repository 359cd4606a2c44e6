"""One command in several processes: identical results, and no process left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan
from lico_bench.bench.executors.data_parallel import (
    PROCESS_VARIABLE,
    ProcessInfo,
    find_process_info,
    join_process_group,
    process_options,
)
from lico_bench.errors import InvalidInputError
from lico_bench.store import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHANGES = {"epochs": 2, "train_limit": 64, "batch_size": 32, "learning_rate": 0.01,
           "precision": "float32", "backbone": "wrn_10_1"}  # fmt: skip
ASKED = [
    "run", "--datasets", "cifar10", "--profile", "smoke", "--data", "standin", "--seeds", "1",
    "--methods", "grad_cam", "--metrics", "pointing_game", "--limit", "300", "--device", "cpu",
]  # fmt: skip
ATOL_WEIGHTS = 1e-3  # four updates: see tests/training/test_distributed.py
KEYS = ["arm", "image_id", "method", "metric"]


def command(out: Path, *more: str, launcher: tuple[str, ...] = (), **changes) -> list[str]:
    settings = [f"--set=recipe.{name}={value}" for name, value in (CHANGES | changes).items()]
    called = [sys.executable, *launcher, "-m", "lico_bench", *ASKED, "--out", str(out)]
    return [*called, *settings, *more]


def start(*args, **kwargs) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*args, **kwargs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int) -> str:
    message = process.communicate(timeout=600)[0]
    assert process.returncode == code, message
    return message


def in_one_process(out: Path, reporter) -> None:
    suite = Suite(
        ("cifar10",), seeds=1, profile="smoke", methods=("grad_cam",), metrics=("pointing_game",),
        data="standin", limit=300, changes={n: str(v) for n, v in CHANGES.items()},
    )  # fmt: skip
    execute(make_plan(suite), out, options=ExecutorOptions(device="cpu"), reporter=reporter)


def bits(out: Path) -> dict[str, bytes]:
    """Weights and tables of each cell."""
    names = ("model.safetensors", "rows.parquet", "curves.parquet", "gallery.parquet")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in names
        for path in sorted(out.glob(f"cells/*/{name}"))
    }


def children(process: subprocess.Popen[str]) -> list[int]:
    """Processes that `process` started."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in found.read_text().split()] if found.exists() else []


def wait_for(what, seconds: float = 300.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "it did not come"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("together") / "two"
    message = finish(start(out, "--devices", "2"), 0)
    assert message.count("run folder:") == 1  # one of them speaks
    assert "Report:" in message
    return out


def test_two_processes_give_the_results_of_one(two: Path, tmp_path: Path, reporter):
    in_one_process(tmp_path / "one", reporter)
    first, second = (RunFolder(out).rows() for out in (two, tmp_path / "one"))
    pd.testing.assert_frame_equal(first[KEYS], second[KEYS])
    for path in sorted(two.glob("cells/*/model.safetensors")):
        made = safetensors.torch.load_file(path)
        expected = safetensors.torch.load_file(tmp_path / "one" / path.relative_to(two))
        for name, value in made.items():
            assert (value.double() - expected[name].double()).abs().max() < ATOL_WEIGHTS, name
    pd.testing.assert_frame_equal(
        RunFolder(two).history()[["epoch", "quantity"]],
        RunFolder(tmp_path / "one").history()[["epoch", "quantity"]],
    )


def test_one_process_scores_the_same_weights_to_the_same_bits(two: Path, tmp_path: Path, reporter):
    again = tmp_path / "again"
    shutil.copytree(two, again)
    for path in [*again.glob("cells/*/done.json"), *again.glob("cells/*/rows.parquet"),
                 *again.glob("cells/*/curves.parquet")]:  # fmt: skip
        path.unlink()
    in_one_process(again, reporter)
    assert bits(again) == bits(two)


def test_torchrun_gives_the_same_bits(two: Path, tmp_path: Path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    message = finish(start(tmp_path / "run", launcher=launcher), 0)
    assert message.count("run folder:") == 1
    assert bits(tmp_path / "run") == bits(two)


def test_a_failed_training_is_recorded_and_the_others_go_on_to_the_next(tmp_path: Path):
    message = finish(start(tmp_path / "run", "--devices", "2", learning_rate=1e30), 5)
    failures = RunFolder(tmp_path / "run").failures()
    assert len(failures) == 2, message
    assert message.count("not finite") >= 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_a_stopped_leader_leaves_no_process_and_the_run_goes_on(
    number: int, code: int, tmp_path: Path, two: Path
):
    process = start(tmp_path / "run", "--devices", "2")
    wait_for(lambda: [*(tmp_path / "run").glob("cells/*/recipe.json")])
    others = children(process)
    assert len(others) == 1
    process.send_signal(number)
    finish(process, code)
    wait_for(lambda: not any(Path(f"/proc/{other}").exists() for other in others), 20)
    finish(start(tmp_path / "run", "--devices", "2"), 0)
    assert bits(tmp_path / "run") == bits(two)


def test_a_lost_process_is_told_and_the_run_goes_on(tmp_path: Path, two: Path):
    process = start(tmp_path / "run", "--devices", "2")
    wait_for(lambda: [*(tmp_path / "run").glob("cells/*/recipe.json")])
    (other,) = children(process)
    os.kill(other, signal.SIGKILL)
    message = finish(process, 2)
    assert "cannot continue with the others" in message
    assert "repeat the same command" in message
    finish(start(tmp_path / "run", "--devices", "2"), 0)
    assert bits(tmp_path / "run") == bits(two)


def test_a_process_that_never_joins_does_not_keep_the_leader_waiting():
    """Its command line is wrong, which cannot happen but stands for all that can."""
    code = (
        "import sys; from lico_bench.bench.executors import data_parallel\n"
        "sys.argv[1:], data_parallel.ERROR_WAIT_S = ['no-such-command'], 1.0\n"
        "with data_parallel.join_process_group(devices=2, num_nodes=1): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "another process of this training has ended" in done.stderr


TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node0", "MASTER_PORT": "29500",
}  # fmt: skip
NODE = {"NODE_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


def test_one_device_is_alone_and_nothing_is_started():
    with join_process_group(devices=1, num_nodes=1) as info:
        assert (info.rank, info.count, info.is_leader) == (0, 1, True)
        assert info.device("auto") == "auto"
        assert not torch.distributed.is_initialized()


def test_the_first_process_leads_those_that_it_starts():
    assert find_process_info({}, devices=3, num_nodes=1) == ProcessInfo(
        0, 3, 0, 3, ("127.0.0.1", 0)
    )


def test_a_started_process_reads_its_place():
    info = ProcessInfo(2, 3, 2, 3, ("127.0.0.1", 4711))
    message = {PROCESS_VARIABLE: json.dumps(asdict(info))}
    assert find_process_info(message, devices=3, num_nodes=1) == info


@pytest.mark.parametrize(("devices", "num_nodes"), [(1, 1), (4, 2)])
def test_torchrun_says_who_is_who(devices: int, num_nodes: int):
    info = find_process_info(TORCHRUN, devices=devices, num_nodes=num_nodes)
    assert info == ProcessInfo(5, 8, 1, 4, None)
    assert not info.is_leader


def test_options_that_contradict_torchrun_are_refused():
    with pytest.raises(InvalidInputError, match="8 processes were started from outside"):
        find_process_info(TORCHRUN, devices=3, num_nodes=1)


def test_on_several_machines_the_number_of_the_machine_decides():
    assert find_process_info(NODE, devices=4, num_nodes=2) == ProcessInfo(
        4, 8, 0, 4, ("node0", 29500)
    )


def test_several_machines_without_an_address_are_told_what_to_do():
    with pytest.raises(InvalidInputError, match="torchrun --nnodes 2 --nproc-per-node 4"):
        find_process_info({}, devices=4, num_nodes=2)


def test_processes_share_the_cpu_and_each_takes_its_gpu(monkeypatch):
    info = ProcessInfo(1, 2, 1, 2)
    assert info.device("cpu") == "cpu"
    monkeypatch.setattr(
        "lico_bench.bench.executors.data_parallel.pick_device", lambda _: torch.device("cuda")
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert info.device("auto") == "cuda:1"
    with pytest.raises(InvalidInputError, match="--device cuda:0: several processes need"):
        info.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InvalidInputError, match="this machine has 1 GPUs"):
        info.device("auto")


@pytest.mark.parametrize(("workers", "executor"), [(2, "local"), (1, "ray")])
def test_training_together_goes_with_no_other_way_to_share_the_work(workers: int, executor: str):
    options = ExecutorOptions(device="cpu", workers=workers, devices=2)
    with pytest.raises(InvalidInputError, match="neither with --workers nor"):
        process_options(ProcessInfo(0, 2, 0, 2), options, executor)
    assert (
        process_options(ProcessInfo(0, 2, 0, 2), ExecutorOptions(device="cpu"), "local").device
        == "cpu"
    )
