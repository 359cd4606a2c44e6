"""Rank of a process, read from the environment."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from lico_bench.bench import ExecutorOptions
from lico_bench.bench.executors.data_parallel import (
    PROCESS_VARIABLE,
    ProcessInfo,
    find_process_info,
    join_process_group,
    process_options,
)
from lico_bench.errors import InvalidInputError

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
