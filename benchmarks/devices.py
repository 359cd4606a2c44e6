"""Time of an update in one and in two processes, and of the communication between them.

    uv run python benchmarks/devices.py [--backbone wrn_16_2] [--batch 128] [--updates 20]

Compares one process on all cores with two that share them, for the baseline and LICO. Communication
is timed after a barrier, so that it does not include waiting for the slower process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from lico_bench.records import Recipe
from lico_bench.training.distributed import Peers
from lico_bench.training.loop import prepare

ARMS = ("baseline", "lico")
WARM_UP = 3
MESSAGES = {
    "feature maps for manifold matching": (Peers, "gather"),
    "gradients": (Peers, "average_gradients"),
    "batch statistics, forward": (dist, "all_gather"),
    "batch statistics, backward, and losses": (dist, "all_reduce"),
}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the median milliseconds of an update and the mean of each operation, by arm."""
    torch.set_num_threads(options.threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    peers = Peers.from_process_group()
    found = {}
    for arm in ARMS:
        recipe = Recipe(
            "cifar10", options.backbone, arm, source="standin", batch_size=options.batch,
            train_limit=options.batch * (WARM_UP + options.updates), epochs=2, precision="float32",
            learning_rate=0.01,
        )  # fmt: skip
        session = prepare(recipe, device="cpu", peers=peers)
        plain = _update_times(session)
        spent: dict[str, float] = defaultdict(float)
        undo = _watch(spent) if peers.count > 1 else []
        _update_times(session)
        for restore in undo:
            restore()
        count = WARM_UP + options.updates
        each = {name: 1000 * seconds / count for name, seconds in spent.items()}
        found[arm] = {"update_ms": 1000 * statistics.median(plain[WARM_UP:]), **each}
    if dist.is_initialized():
        dist.destroy_process_group()
    return found


def _update_times(session: Any) -> list[float]:
    times, before = [], time.perf_counter()
    for _ in session.run_epoch():
        now = time.perf_counter()
        times.append(now - before)
        before = now
    return times


def _watch(spent: dict[str, float]) -> list[Callable[[], None]]:
    """Add timers after a barrier to each operation; return functions that remove them."""
    undo: list[Callable[[], None]] = []
    inside: list[str] = []

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if inside:  # nested in an operation that is already timed
                return call(*args, **kwargs)
            dist.barrier()
            inside.append(name)
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - started
                inside.pop()

        return run

    for name, (owner, method) in MESSAGES.items():
        call = getattr(owner, method)
        setattr(owner, method, timed(name, call))
        undo.append(lambda owner=owner, method=method, call=call: setattr(owner, method, call))
    return undo


def start(threads: int, count: int) -> dict[str, Any]:
    """Return the measurements of the leader of `count` processes with `threads` threads each."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    port = store.port
    del store
    running = []
    for rank in range(count):
        rank_environment = {
            "RANK": rank,
            "WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if count > 1:
            environment |= {name: str(value) for name, value in rank_environment.items()}
        command = [sys.executable, __file__, *sys.argv[1:], "--threads", str(threads)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE))
    texts = [process.communicate()[0] for process in running]
    found: dict[str, Any] = json.loads(texts[0])
    return found


def main() -> None:
    """Print one table per arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wrn_16_2")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="of a process that is measured")
    options = parser.parse_args()
    if options.threads:
        print(json.dumps(measure(options)))
        return
    cores = len(os.sched_getaffinity(0))
    one, two = start(cores, 1), start(max(1, cores // 2), 2)
    print(f"{options.backbone}, batch {options.batch}, float32, {cores} cores\n")
    print("| arm | one process | two processes | of that, " + " | of that, ".join(MESSAGES) + " |")
    print("| --- |" + " ---: |" * (2 + len(MESSAGES)))
    for arm in ARMS:
        took = two[arm]["update_ms"]
        shares = [
            f"{two[arm].get(n, 0):.1f} ms ({two[arm].get(n, 0) / took:.1%})" for n in MESSAGES
        ]
        cells = [arm, f"{one[arm]['update_ms']:.0f} ms", f"{took:.0f} ms", *shares]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
