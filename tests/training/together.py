"""One of several processes that train together; run by the tests, once per process.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=... python together.py FOLDER

FOLDER holds `jobs.pt`, a list of jobs: {recipe: fields of Recipe, keep: epochs whose state is kept,
state: to start from}. The process writes what it made of each to `<job>-<rank>.pt`.
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from lico_bench.errors import LicoBenchError
from lico_bench.records import Recipe
from lico_bench.training import train
from lico_bench.training.distributed import SINGLE_PROCESS, Peers


def run_job(job: dict[str, Any], peers: Peers) -> dict[str, Any]:
    """Weights, history and kept states of one training, or the sentence it failed with."""
    states: list[dict[str, Any]] = []
    try:
        trained = train(
            Recipe(**job["recipe"]),
            device="cpu",
            state=job.get("state") if peers.is_leader else None,
            keep=lambda state: states.append(deepcopy(state)),
            peers=peers,
        )
    except LicoBenchError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {
        "weights": trained.classifier.state_dict(),
        "history": list(trained.history.itertuples(index=False, name=None)),
        "states": states if job.get("keeps") else [],
    }


def main(folder: Path) -> None:
    """Do every job of the folder with the others."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    peers = Peers.from_process_group()
    for number, job in enumerate(torch.load(folder / "jobs.pt")):
        made = run_job(job, peers if job.get("together", True) else SINGLE_PROCESS)
        torch.save(made, folder / f"{number}-{peers.rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
