"""Time the units of a run with real updates and scorings on random images.

No dataset image is read. Only a small temporary run is written.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch

from lico_bench.bench.cell import RunContext, SplitCache, run_cell
from lico_bench.bench.compute_cost import update_gigaflop
from lico_bench.bench.plan import Plan, PlannedCell, make_plan
from lico_bench.bench.reporter import NoOpReporter
from lico_bench.bench.suite import Suite
from lico_bench.bench.time_estimate import (
    CLASSIFYING,
    DRAWING,
    EXPLAINING,
    REPORT_PLOT,
    REPORT_TEXT,
    STORE,
    TRAINING,
    Calibration,
    Timing,
    Unit,
    WorkItem,
    num_plots,
    setup_unit,
    training_batch,
)
from lico_bench.data import load_card
from lico_bench.data.dataset import Dataset
from lico_bench.data.image_files import ArrayImages
from lico_bench.data.scenes import CHUNK, draw_scenes
from lico_bench.errors import LicoBenchError, MissingDataError
from lico_bench.evaluation import Subject, ranges_of
from lico_bench.evaluation.collector import Collector
from lico_bench.models import evaluating
from lico_bench.runtime import make_generator
from lico_bench.store import RunFolder
from lico_bench.training.loop import fresh_classifier, prepare

MIN_BATCH, MIN_IMAGES = 4, 4
UPDATES = 6  # maximum in one timing run
FIRST_UPDATE_COST = 3  # the first update of an epoch takes as long as three, for its checks
SMALL_RUN = Suite(
    datasets=("cifar10",), arms=("baseline", "lico"), seeds=2, profile="smoke", data="standin",
    methods=("grad_cam",), metrics=("insertion", "deletion"), limit=2,
    changes={
        "backbone": "wrn_10_1", "epochs": 1, "train_limit": 16, "batch_size": 8,
        "text_encoder": "random", "precision": "float32",
    },
)  # fmt: skip

WriteReport = Callable[[RunFolder], object]
UnitTimings = Mapping[Unit, Timing]


@dataclass(frozen=True)
class TimingContext:
    """Plan and device of the timing runs.

    Attributes:
        write_report: writes the report of a run; None skips timing the report.
    """

    plan: Plan
    device: torch.device
    write_report: WriteReport | None

    def clock(self) -> float:
        """Return the time in seconds after all pending work on the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def timed(self, work: Callable[[], object]) -> float:
        """Return the seconds that `work` takes."""
        started = self.clock()
        work()
        return self.clock() - started


def _time_update(
    timing: TimingContext, item: WorkItem, known: Calibration, budget_s: float
) -> UnitTimings:
    """Time one update and the extra time of an epoch's first update; small batches are scaled."""
    cell, facts = item.cell, timing.plan.datasets[item.cell.recipe.dataset]
    full_batch = batch = training_batch(cell, facts)
    expected = known.timing(item.unit).seconds * _min_updates(cell)
    while batch >= 2 * MIN_BATCH and expected * batch / full_batch > budget_s:
        batch //= 2
    period = _update_period(cell)
    images = random_images(timing.plan, cell, "train", (1 + period) * batch)
    # Compiling takes a minute; the uncompiled network gives a similar time.
    recipe = replace(cell.recipe, batch_size=batch, epochs=UPDATES, compile=False)
    started = timing.clock()
    session = prepare(recipe, device=str(timing.device), dataset=images)
    setup = timing.clock() - started
    first_updates: list[float] = []
    later_updates: list[float] = []
    deadline = timing.clock() + budget_s
    while len(later_updates) < UPDATES // 2 and (not later_updates or timing.clock() < deadline):
        times = [timing.clock()]
        times += [timing.clock() for _ in session.run_epoch()]
        first_updates.append(times[1] - times[0])
        later_updates.append((times[-1] - times[1]) / period)
    update = median(later_updates)
    extra = max(0.0, min(first_updates) - update)  # min: the very first also selects kernels
    scale = item.unit.gigaflop / update_gigaflop(cell.recipe, facts, batch)
    timings = {item.unit: Timing(update * scale, item.unit.gigaflop, extra * scale)}
    if cell.encoder is not None:
        timings[setup_unit(cell.encoder["name"])] = Timing(setup)
    return timings


def _update_period(cell: PlannedCell) -> int:
    """Return the number of updates per text encoder forward; they are timed together."""
    return int(cell.options.get("text_every", 1)) if cell.encoder is not None else 1


def _min_updates(cell: PlannedCell) -> int:
    """Return the cost of the shortest timing run of training, in updates."""
    return FIRST_UPDATE_COST + _update_period(cell)


def _time_classifying(
    timing: TimingContext, item: WorkItem, known: Calibration, budget_s: float
) -> UnitTimings:
    collector, most = _collector(timing, item)
    count = _affordable(budget_s / 2, known.timing(item.unit).seconds, most)
    indices = torch.arange(count)
    with evaluating(collector.subject.model):
        collector.classify(indices)  # warm-up: the first call selects kernels
        seconds = timing.timed(lambda: collector.classify(indices))
    return {item.unit: Timing(seconds / count, item.unit.gigaflop)}


def _time_explaining(
    timing: TimingContext, item: WorkItem, known: Calibration, budget_s: float
) -> UnitTimings:
    """Time one image and several: a call has a fixed cost that the images of a batch share."""
    collector, most = _collector(timing, item)
    most = min(most, round(item.count))
    methods = timing.plan.eval_config.resolved_methods

    def seconds_for(count: int) -> float:
        indices, is_shown = torch.arange(count), [True] * count
        collector.classify(indices)
        return timing.timed(lambda: collector.score(indices, methods, is_shown))

    with evaluating(collector.subject.model):
        seconds_for(1)  # warm-up: the first call loads libraries and selects kernels
        each = single = seconds_for(1)
        count = _affordable(budget_s, min(single, known.timing(item.unit).seconds), most)
        if count > 1:
            extra = max(0.0, seconds_for(count) - single) / (count - 1)
            each = extra + max(0.0, single - extra) / most
    return {item.unit: Timing(each, item.unit.gigaflop)}


def _time_drawing(
    timing: TimingContext, item: WorkItem, _known: Calibration, _budget_s: float
) -> UnitTimings:
    """Time drawing one chunk of scenes."""
    card = load_card(item.cell.recipe.dataset, timing.plan.root)
    facts = card.standin
    if facts is None:
        raise MissingDataError(
            f"{card.title}: its card declares no stand-in; add one to the card, or use --data real"
        )
    side = timing.plan.datasets[card.name].image_size[0]
    draw = partial(draw_scenes, card.name, facts, "test", image_size=side, count=CHUNK)
    return {item.unit: Timing(timing.timed(draw), item.unit.gigaflop)}


TIMERS = {
    TRAINING: _time_update,
    CLASSIFYING: _time_classifying,
    EXPLAINING: _time_explaining,
    DRAWING: _time_drawing,
}
# Images (chunks for drawing) in the shortest timing run.
MIN_COUNT = {CLASSIFYING: 2 * MIN_IMAGES, EXPLAINING: MIN_IMAGES, DRAWING: 1}


def min_seconds(timing: TimingContext, item: WorkItem, known: Calibration) -> float:
    """Return the estimated seconds of the shortest timing run of a unit."""
    unit, cell = item.unit, item.cell
    each = known.timing(unit).seconds
    if unit.kind != TRAINING:
        return MIN_COUNT[unit.kind] * each
    batch = training_batch(cell, timing.plan.datasets[cell.recipe.dataset])
    least = _min_updates(cell) * MIN_BATCH * each / batch
    if cell.encoder is not None:
        least += known.timing(setup_unit(cell.encoder["name"])).seconds
    return least


def _affordable(budget_s: float, each_s: float, most: int) -> int:
    """Return how many images fit into `budget_s`, at least `MIN_IMAGES` and at most `most`."""
    return min(most, max(MIN_IMAGES, int(budget_s / max(each_s, 1e-9))))


def _collector(timing: TimingContext, item: WorkItem) -> tuple[Collector, int]:
    """Return a collector for an untrained model of `item`, and its batch size."""
    cell, recipe = item.cell, item.cell.recipe
    tested = timing.plan.datasets[recipe.dataset].num_images("test")
    dataset = random_images(timing.plan, cell, "test", min(256, tested))
    most = len(ranges_of(dataset, timing.plan.eval_config).classified[0])
    model = fresh_classifier(recipe, dataset).eval().requires_grad_(False).to(timing.device)
    subject = Subject(
        model, recipe.pair_key, cell.key, recipe.backbone, recipe.arm, recipe.seed, "full"
    )
    defined, _ = timing.plan.eval_config.defined_for(dataset)
    return Collector(subject, dataset, defined, timing.plan.eval_config.protocol), most


def random_images(plan: Plan, cell: PlannedCell, split: str, count: int) -> Dataset:
    """Return random images with the image size and classes of a cell's dataset."""
    facts = plan.datasets[cell.recipe.dataset]
    card = load_card(facts.name, plan.root)
    generator = make_generator(0, "images to time with")
    size = (count, 3, *facts.image_size)
    pixels = torch.randint(256, size, dtype=torch.uint8, generator=generator)
    regions = None
    if facts.has_regions:
        height, width = facts.image_size
        regions = torch.zeros(count, height, width, dtype=torch.bool)
        regions[:, height // 4 : -(-3 * height // 4), width // 4 : -(-3 * width // 4)] = True
    return Dataset(
        name=facts.name,
        title=facts.title,
        split=split,
        source=facts.source,
        class_names=facts.class_names,
        prompt_names=facts.prompt_names,
        labels=torch.randint(len(facts.class_names), (count,), generator=generator),
        image_ids=tuple(f"{split}/{number}" for number in range(count)),
        found_count=count,
        official_count=count,
        mean=card.mean,
        std=card.std,
        test_from_train=False,
        notes=(),
        fingerprint="noise",
        image_source=ArrayImages(pixels),
        region_source=regions,
    )


class _RandomSplits(SplitCache):
    """Splits of random images."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.root)
        self._plan = plan

    def train(self, cell: PlannedCell) -> Dataset:
        """Return random training images, as many as the recipe's limit."""
        return random_images(self._plan, cell, "train", cell.recipe.train_limit or 8)

    def test(self, cell: PlannedCell) -> Dataset:
        """Return 8 random test images."""
        return random_images(self._plan, cell, "test", 8)


def time_small_run(timing: TimingContext, write_report: WriteReport) -> UnitTimings:
    """Time a minimal run and its report, for the fixed costs of storing and reporting.

    Raises:
        LicoBenchError: if a cell fails.
    """
    plan = make_plan(SMALL_RUN)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        run.open_for(plan.manifest())
        context = RunContext(plan, run, _RandomSplits(plan), str(timing.device), NoOpReporter())
        seconds = [timing.timed(partial(run_cell, cell, context)) for cell in plan.cells]
        if run.failures():
            raise LicoBenchError(
                "the small run for timing failed; run without --calibrate, or run "
                "`lico-bench doctor` to check the installation"
            )
        report = timing.timed(partial(write_report, run))
    counts = {REPORT_TEXT: 1, REPORT_PLOT: num_plots(plan)}
    ratio = report / sum(count * (unit.usual_s or 0.0) for unit, count in counts.items())
    report_timings = {unit: Timing(ratio * (unit.usual_s or 0.0)) for unit in counts}
    return {STORE: Timing(min(seconds)), **report_timings}
