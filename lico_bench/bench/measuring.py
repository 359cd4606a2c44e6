"""Time on this machine what a plan is made of: updates, maps and their scores, loading, the rest.

Real updates and real scorings are timed, on as few pictures as tell; what is left when the time is
up is scaled from the rest by `Calibration.timing`. Fixed costs come from a tiny run in a process
of its own: only there does everything happen for the first time.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch

from lico_bench.bench.calibration import (
    LOADING,
    Calibration,
    FixedCosts,
    Timing,
    classifying_unit,
    explaining_unit,
    loading_unit,
    training_unit,
)
from lico_bench.bench.checkpoints import Checkpoint
from lico_bench.bench.plan import Plan, PlannedCell
from lico_bench.bench.splits import SplitCache
from lico_bench.bench.work import forward_gigaflop, measure_speed, method_forwards, split_images
from lico_bench.data import Dataset, load_dataset
from lico_bench.errors import InvalidInputError, LicoBenchError, TrainingError
from lico_bench.evaluation import Subject
from lico_bench.evaluation.collector import Collector
from lico_bench.models import evaluating
from lico_bench.runtime import pick_device
from lico_bench.store import CellFolder, RunFolder
from lico_bench.training.preparation import fresh_classifier, prepare

BUDGET_S = 45.0  # for updates, maps and loading; the fixed costs take some fifteen seconds more
UNIT_S = 1.5  # that one timing should take at most
UPDATES = 4  # of each of two epochs; the first warms up
LEAST_IMAGES, MOST_IMAGES = 4, 32  # explained for one timing
LEAST_BATCH = 8
DRAWING_S = 200  # of 10⁹ pixels of drawn scenes, to guess by
# One dataset, two arms, two seeds: what the second seed's models take, the first's took as well.
TINY = (
    "run", "--datasets", "cifar10", "--data", "standin", "--profile", "smoke", "--seeds", "2",
    "--arms", "baseline,lico", "--methods", "grad_cam", "--metrics", "deletion", "--limit", "4",
    "--set", "recipe.train_limit=64", "--set", "recipe.epochs=1",
)  # fmt: skip

Told = Callable[[str], None]
WriteReport = Callable[[RunFolder], object]


@dataclass(frozen=True)
class _Item:
    """Something to time, by its unit's name.

    Attributes:
        guess: seconds that the timing is expected to take.
        is_first: whether the first model of the plan needs it: without one unit of each kind
            nothing can be told.
    """

    unit: str
    dataset: str
    guess: float
    measure: Callable[[], Timing]
    is_first: bool = False

    @property
    def is_loading(self) -> bool:
        """Whether the other items of the dataset need it."""
        return self.unit.startswith(LOADING)


def calibrate(
    plan: Plan,
    known: Calibration,
    *,
    device: str,
    write_report: WriteReport,
    told: Told = lambda _what: None,
    budget_s: float = BUDGET_S,
) -> Calibration:
    """What the plan is made of, timed here; timings of other units stay.

    Args:
        known: what was timed before; units of this plan are timed again.
        write_report: writes the report of a run; what shows it is not this room's to know.
        told: called with what is timed next.
        budget_s: seconds for all but the fixed costs; units that do not fit are left out, those of
            the first model excepted.

    Raises:
        InvalidInputError: for a plan whose data need not be here.
        LicoBenchError: if the small run that shows the fixed costs does not end well.
    """
    if plan.suite.data == "official":
        raise InvalidInputError(
            "--calibrate times real work, which --data official need not have here; calibrate with "
            "--data auto first, and plan again without --calibrate"
        )
    told("a small run from start to report")
    calibration = replace(known, fixed=measure_fixed_costs(device, write_report))
    started = time.perf_counter()
    left_out: set[str] = set()  # datasets that take too long to load
    for item in _items(plan, device):
        left = budget_s - (time.perf_counter() - started)
        if item.dataset in left_out:
            continue
        if item.guess > left and not item.is_first:
            left_out |= {item.dataset} if item.is_loading else set()
            continue
        told(item.unit.rpartition(" | ")[0])
        try:
            calibration = calibration.with_timing(item.unit, item.measure())
        except (InvalidInputError, TrainingError):
            continue  # a training of so few pictures may diverge; the run itself will tell
    return calibration


def _items(plan: Plan, device: str) -> Iterator[_Item]:
    """Every unit of a plan once: the first arm of each dataset, then what else each needs."""
    splits = SplitCache(plan.root)
    speed = measure_speed(pick_device(device))
    seen: set[str] = set()
    first = list({cell.recipe.dataset: cell for cell in reversed(plan.cells)}.values())[::-1]
    for cell in (*first, *plan.cells):
        for item in _items_of(cell, plan, splits, speed, device):
            if item.unit not in seen:
                seen.add(item.unit)
                yield replace(item, is_first=cell is plan.cells[0])


def _items_of(
    cell: PlannedCell, plan: Plan, splits: SplitCache, speed: float, device: str
) -> Iterator[_Item]:
    facts, recipe, question = plan.datasets[cell.recipe.dataset], cell.recipe, plan.question
    for split, load in (("train", splits.train), ("test", splits.test)):
        pixels = split_images(recipe, facts, split) * math.prod(facts.image_size) / 1e9
        unit = loading_unit(cell, facts, split)
        measure = partial(_timed, partial(load, cell), pixels)
        yield _Item(unit, facts.name, pixels * DRAWING_S, measure)
    update = cell.work.train_gigaflop / cell.work.updates
    batch, updates = _affordable(recipe.batch_size, update / speed)
    yield _Item(
        training_unit(cell, facts),
        facts.name,
        2 * updates * update / speed * batch / recipe.batch_size + 1,
        lambda: _time_update(cell, splits.train(cell), update, batch, updates, device),
    )
    each = forward_gigaflop(recipe.backbone, facts.image_size)
    yield _Item(
        classifying_unit(cell, facts),
        facts.name,
        256 * each / speed,
        lambda: _time_classifying(cell, plan, splits.test(cell), each, device),
    )
    for method in question.resolved_methods:
        work = method_forwards(recipe.backbone, facts, question, method) * each
        count = max(LEAST_IMAGES, min(MOST_IMAGES, int(UNIT_S * speed / work)))
        yield _Item(
            explaining_unit(cell, facts, question, method),
            facts.name,
            (count + 1) * work / speed,
            partial(_time_explaining, cell, plan, splits, method, count, work, device),
        )


def _timed(work: Callable[[], object], gigaflop: float) -> Timing:
    started = time.perf_counter()
    work()
    return Timing(time.perf_counter() - started, gigaflop)


def _affordable(batch: int, update_s: float) -> tuple[int, int]:
    """The batch, or a half, a quarter and so on of it, and the updates that take about `UNIT_S`."""
    while batch >= 2 * LEAST_BATCH and 2 * update_s > UNIT_S:
        batch, update_s = batch // 2, update_s / 2
    return batch, max(2, min(UPDATES, int(UNIT_S / update_s)))


def _time_update(
    cell: PlannedCell, dataset: Dataset, gigaflop: float, batch: int, updates: int, device: str
) -> Timing:
    """One update, and what an epoch takes beside its updates; a smaller batch is scaled up."""
    batch = min(batch, len(dataset))
    pictures = dataset.subset(torch.arange(min(len(dataset), updates * batch)))
    recipe = replace(cell.recipe, batch_size=batch, epochs=3)
    session = prepare(recipe, device=device, dataset=pictures)
    for _ in session.run_epoch():
        pass  # kernels are chosen at the first calls
    marks = [time.perf_counter()]
    marks += [time.perf_counter() for _ in session.run_epoch()]
    with tempfile.TemporaryDirectory() as folder:
        Checkpoint(CellFolder(Path(folder))).write(session.state())
    whole = time.perf_counter() - marks[0]
    seconds = [b - a for a, b in pairwise(marks)]
    update = median(seconds[1:] or seconds)  # the first of an epoch looks closer
    scale = min(cell.recipe.batch_size, len(dataset)) / batch
    return Timing(update * scale, gigaflop, max(0.0, whole - update * len(seconds)) * scale)


def _time_classifying(
    cell: PlannedCell, plan: Plan, dataset: Dataset, gigaflop: float, device: str
) -> Timing:
    collector = _collector(cell, plan, dataset, device)
    indices = torch.arange(min(len(dataset), 256 if dataset.image_size[0] <= 64 else 32))
    with evaluating(collector.subject.model):
        collector.classify(indices)  # kernels are chosen at the first call
        timing = _timed(lambda: collector.classify(indices), gigaflop)
    return replace(timing, seconds=timing.seconds / len(indices))


def _time_explaining(
    cell: PlannedCell, plan: Plan, splits: SplitCache, method: str, count: int, gigaflop: float,
    device: str,
) -> Timing:  # fmt: skip
    dataset = splits.test(cell)
    collector = _collector(cell, plan, dataset, device)
    indices = torch.arange(min(count, len(dataset)))
    methods = {method: plan.question.resolved_methods[method]}
    with evaluating(collector.subject.model):
        collector.classify(indices)
        collector.score(indices[:1], methods, [True])
        is_shown = [True] * len(indices)
        timing = _timed(lambda: collector.score(indices, methods, is_shown), gigaflop)
    return replace(timing, seconds=timing.seconds / len(indices))


def _collector(cell: PlannedCell, plan: Plan, dataset: Dataset, device: str) -> Collector:
    recipe = cell.recipe
    model = fresh_classifier(recipe, dataset).eval().requires_grad_(False).to(pick_device(device))
    subject = Subject(
        model, recipe.pair_key, cell.key, recipe.backbone, recipe.arm, recipe.seed, "full"
    )
    defined, _ = plan.question.defined_for(dataset)
    return Collector(subject, dataset, defined, plan.protocol)


def measure_fixed_costs(device: str, write_report: WriteReport) -> FixedCosts:
    """What the steps of a tiny run take that have next to nothing to do.

    Raises:
        LicoBenchError: if the run does not end well, with the last line it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-m", "lico_bench", *TINY, "--device", device, "--out", str(out)],
            capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        ended = time.time()
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise LicoBenchError(f"the small run that calibrates did not end well: {lines[-1]}")
        return _fixed_costs(RunFolder(out), began, ended, write_report)


def _fixed_costs(
    run: RunFolder, began: float, ended: float, write_report: WriteReport
) -> FixedCosts:
    """Read off the times at which the files of a run of two arms and two seeds appeared."""
    planned = run.manifest_path.stat().st_mtime
    done = [(run.cell(key).path / "done.json").stat().st_mtime for key in run.finished()]
    first, first_text, later, later_text = (b - a for a, b in pairwise([planned, *done]))
    write_report(run)  # the first loads libraries and fonts
    warm = _timed(partial(write_report, run), 0).seconds
    plots = len(list((run.path / "report" / "figures").glob("*.png")))
    splits = ("train", "test")
    loads = [partial(load_dataset, "cifar10", split, source="standin") for split in splits]
    loading = sum(_timed(load, 0).seconds for load in loads)
    return FixedCosts(
        start=max(0.0, planned - began),
        first=max(0.0, first + first_text - later - later_text - loading),
        cell=max(0.0, later),
        text_cell=max(0.0, later_text),
        report=max(0.0, ended - done[-1] - warm),
        plot=warm / max(1, plots),
    )
