"""Time on this machine what a plan is made of, within the seconds that are given.

Real updates and real scorings of random pictures: no picture of a dataset is read. What takes the
largest share of the run is timed first, on as few pictures as tell; what is left when the time is
up is scaled by `Calibration.timing`.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch

from lico_bench.bench import units
from lico_bench.bench.calibration import (
    Calibration,
    Timing,
    machine_facts,
    read_calibration,
)
from lico_bench.bench.cell import Workplace, run_cell
from lico_bench.bench.cost import TimeEstimate, estimate_time
from lico_bench.bench.plan import Plan, PlannedCell, make_plan
from lico_bench.bench.reporter import Silent
from lico_bench.bench.splits import SplitCache
from lico_bench.bench.suite import Suite
from lico_bench.bench.units import Part, Unit, parts_of, training_batch, training_left
from lico_bench.bench.work import update_gigaflop
from lico_bench.data import load_card
from lico_bench.data.dataset import Dataset
from lico_bench.data.pictures import ArrayPictures
from lico_bench.data.scenes import CHUNK, draw_scenes
from lico_bench.errors import (
    BrokenFileError,
    LicoBenchError,
    MissingDataError,
    OutOfMemoryError,
)
from lico_bench.evaluation import Subject
from lico_bench.evaluation.collector import Collector
from lico_bench.evaluation.shards import ranges_of
from lico_bench.models import evaluating
from lico_bench.runtime import make_generator, pick_device
from lico_bench.store import RunFolder
from lico_bench.training.preparation import fresh_classifier, prepare

LOOK_S = 4.5  # before a run
LOOK_SHARE = 0.1  # of the run, at most
CALIBRATE_S = 45.0
ENOUGH_SHARE = 0.9  # of the run that is timed: from there on a run starts without a look
UNIT_S, LEAST_S = 2.0, 0.25  # of one trial
LEAST_BATCH, LEAST_IMAGES = 4, 4
UPDATES = 6  # in one trial, at most
FIRST_UPDATE = 3  # updates that the first of an epoch takes, which looks closer
SMALL_RUN_S = 15.0  # models and report of a run that has next to nothing to do
SMALL_RUN = Suite(
    datasets=("cifar10",), arms=("baseline", "lico"), seeds=2, profile="smoke", data="standin",
    methods=("grad_cam",), metrics=("insertion", "deletion"), limit=2,
    changes={
        "backbone": "wrn_10_1", "epochs": 1, "train_limit": 16, "batch_size": 8,
        "text_encoder": "random", "precision": "float32",
    },
)  # fmt: skip

Told = Callable[[str], None]
WriteReport = Callable[[RunFolder], object]
Found = Mapping[Unit, Timing]


def look(plan: Plan, run: RunFolder | None, *, device: str) -> TimeEstimate:
    """What is left of a run takes, from what was timed before and a look of a few seconds.

    Nothing is written, and the random numbers of the process stay as they are.

    Args:
        run: where it is stored, as far as it was run.

    Raises:
        LicoBenchError, RuntimeError: if a trial fails, for want of memory above all.
    """
    left = training_left(plan, run)
    if not left:
        return estimate_time(plan, left, Calibration({}))
    _load_libraries(plan)
    started = time.perf_counter()
    known = _kept(device)
    rough = estimate_time(plan, left, known)
    if rough.timed_share >= ENOUGH_SHARE:
        return rough
    budget = min(LOOK_S, LOOK_SHARE * rough.seconds) - (time.perf_counter() - started)
    known = time_units(plan, left, known, device=device, budget_s=budget)
    return estimate_time(plan, left, known, took_s=time.perf_counter() - started)


def _kept(device: str) -> Calibration:
    """What was timed before; nothing where that cannot be read, since it is timed anew."""
    chosen = pick_device(device)
    try:
        return read_calibration(chosen).on(chosen)
    except BrokenFileError:
        return Calibration(machine_facts(chosen)).on(chosen)


def calibrate(
    plan: Plan,
    *,
    device: str,
    write_report: WriteReport,
    told: Told = lambda _what: None,
    budget_s: float = CALIBRATE_S,
) -> Calibration:
    """The units of a plan, timed for less than a minute; timings of other plans stay.

    Args:
        write_report: writes the report of a run; what shows it is not this room's to know.
        told: called with what is timed next.
        budget_s: after which nothing more is begun.

    Raises:
        BrokenFileError: if what was kept before cannot be read.
        LicoBenchError, RuntimeError: as `look`.
    """
    kept = read_calibration(pick_device(device)).on(pick_device(device))
    left = training_left(plan, None)
    _load_libraries(plan)
    nothing = replace(kept, timings={})
    found = time_units(
        plan,
        left,
        nothing,
        device=device,
        budget_s=budget_s,
        write_report=write_report,
        told=told,
    )
    return replace(kept, timings={**kept.timings, **found.timings})


def time_units(
    plan: Plan,
    left: Mapping[str, float],
    known: Calibration,
    *,
    device: str,
    budget_s: float,
    write_report: WriteReport | None = None,
    told: Told = lambda _what: None,
) -> Calibration:
    """`known`, and the units of what is left that could be timed within `budget_s`.

    Args:
        write_report: where given, models and report of a small run are timed as well.
        told: called with what is timed next.

    Raises:
        OutOfMemoryError, RuntimeError: if a trial needs more memory than there is.
    """
    bench = _Bench(plan, pick_device(device), write_report)
    parts = parts_of(plan, left)
    tried: set[Unit] = set()
    deadline = time.perf_counter() + budget_s
    with _undisturbed(bench.device):
        while trial := _next_trial(bench, parts, known, tried, deadline - time.perf_counter()):
            tried.add(trial.part.unit)
            told(trial.part.unit.name.rpartition(" | ")[0])
            try:
                known = known.with_timings(trial.run())
            except OutOfMemoryError:
                raise
            except LicoBenchError:
                continue  # so few random pictures may not be trainable; the run itself will tell
    return known


@dataclass(frozen=True)
class _Trial:
    """A unit to time now, and how."""

    part: Part
    run: Callable[[], Found]


@dataclass(frozen=True)
class _Bench:
    """Where units are timed.

    Attributes:
        device: that the models are on.
    """

    plan: Plan
    device: torch.device
    write_report: WriteReport | None

    def clock(self) -> float:
        """Seconds; all work that was started before is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        return time.perf_counter()

    def timed(self, work: Callable[[], object]) -> float:
        """Seconds of `work`."""
        started = self.clock()
        work()
        return self.clock() - started


def _next_trial(
    bench: _Bench, parts: list[Part], known: Calibration, tried: set[Unit], time_left: float
) -> _Trial | None:
    """The unit that takes the largest share of the run, of those that are not known and fit."""
    shares: dict[Unit, float] = {}
    for part in parts:
        shares[part.unit] = shares.get(part.unit, 0.0) + known.seconds(part)
    needing = {part.unit: part for part in reversed(parts)}
    open_units = [u for u in shares if not known.knows(u) and u not in tried]
    whole = sum(shares[unit] for unit in open_units) or 1.0
    for unit in sorted(open_units, key=lambda u: -shares[u]):
        slot = min(UNIT_S, max(LEAST_S, time_left * shares[unit] / whole))
        part = needing[unit]
        if unit.kind in (units.STORING, units.REPORT, units.PLOT):
            if bench.write_report is not None and time_left >= SMALL_RUN_S:
                return _Trial(part, partial(_time_small_run, bench, bench.write_report))
        elif unit.kind in TRIALS:
            count = LEAST[unit.kind]
            if unit.kind == units.TRAINING:
                count *= _tried_updates(part.cell)
            least = count * known.timing(unit).seconds / _size(bench, part)
            if unit.kind == units.TRAINING and part.cell.encoder is not None:
                least += known.timing(units.setup_unit(part.cell.encoder["name"])).seconds
            if least + LEAST_S <= time_left:
                return _Trial(part, partial(TRIALS[unit.kind], bench, part, known, slot))
    return None


def _size(bench: _Bench, part: Part) -> int:
    """Pictures of one unit."""
    facts = bench.plan.datasets[part.cell.recipe.dataset]
    return training_batch(part.cell, facts) if part.unit.kind == units.TRAINING else 1


def _time_update(bench: _Bench, part: Part, known: Calibration, slot_s: float) -> Found:
    """One update, and what the first of an epoch takes more; a smaller batch is scaled up."""
    cell, facts = part.cell, bench.plan.datasets[part.cell.recipe.dataset]
    whole = batch = training_batch(cell, facts)
    expected = known.timing(part.unit).seconds * _tried_updates(cell)
    while batch >= 2 * LEAST_BATCH and expected * batch / whole > slot_s:
        batch //= 2
    round_length = _text_every(cell)
    pictures = random_pictures(bench.plan, cell, "train", (1 + round_length) * batch)
    # A compiled network takes a minute to compile; the other one tells about as much.
    recipe = replace(cell.recipe, batch_size=batch, epochs=UPDATES, compile=False)
    started = bench.clock()
    session = prepare(recipe, device=str(bench.device), dataset=pictures)
    setup = bench.clock() - started
    firsts: list[float] = []
    others: list[float] = []
    deadline = bench.clock() + slot_s
    while len(others) < UPDATES // 2 and (not others or bench.clock() < deadline):
        marks = [bench.clock()]
        marks += [bench.clock() for _ in session.run_epoch()]
        firsts.append(marks[1] - marks[0])
        others.append((marks[-1] - marks[1]) / round_length)
    update = median(others)
    more = max(0.0, min(firsts) - update)  # the very first chooses kernels as well
    scale = part.unit.gigaflop / update_gigaflop(cell.recipe, facts, batch)
    found = {part.unit: Timing(update * scale, part.unit.gigaflop, more * scale)}
    if cell.encoder is not None:
        found[units.setup_unit(cell.encoder["name"])] = Timing(setup)
    return found


def _text_every(cell: PlannedCell) -> int:
    """Updates until the text encoder has read once; they are timed together."""
    return int(cell.options.get("text_every", 1)) if cell.encoder is not None else 1


def _tried_updates(cell: PlannedCell) -> int:
    """As long as what the shortest trial of training takes."""
    return FIRST_UPDATE + _text_every(cell)


def _time_classifying(bench: _Bench, part: Part, known: Calibration, slot_s: float) -> Found:
    collector, most = _collector(bench, part)
    count = _affordable(slot_s / 2, known.timing(part.unit).seconds, most)
    indices = torch.arange(count)
    with evaluating(collector.subject.model):
        collector.classify(indices)  # kernels are chosen at the first call
        seconds = bench.timed(lambda: collector.classify(indices))
    return {part.unit: Timing(seconds / count, part.unit.gigaflop)}


def _time_explaining(bench: _Bench, part: Part, known: Calibration, slot_s: float) -> Found:
    collector, most = _collector(bench, part)
    count = _affordable(slot_s, known.timing(part.unit).seconds, min(most, round(part.count)))
    indices, methods = torch.arange(count), bench.plan.question.resolved_methods
    with evaluating(collector.subject.model):
        collector.classify(indices)
        collector.score(indices[:1], methods, [True])
        is_shown = [True] * count
        seconds = bench.timed(lambda: collector.score(indices, methods, is_shown))
    return {part.unit: Timing(seconds / count, part.unit.gigaflop)}


def _time_drawing(bench: _Bench, part: Part, _known: Calibration, _slot_s: float) -> Found:
    """One lot of scenes."""
    card = load_card(part.cell.recipe.dataset, bench.plan.root)
    facts = card.standin
    if facts is None:
        raise MissingDataError(f"{card.title}: its card declares no stand-in")
    side = bench.plan.datasets[card.name].image_size[0]
    draw = partial(draw_scenes, card.name, facts, "test", image_size=side, count=CHUNK)
    return {part.unit: Timing(bench.timed(draw), part.unit.gigaflop)}


TRIALS = {
    units.TRAINING: _time_update,
    units.CLASSIFYING: _time_classifying,
    units.EXPLAINING: _time_explaining,
    units.DRAWING: _time_drawing,
}
# Pictures, or lots of them, that the shortest trial needs; of training, in each of its updates.
LEAST = {
    units.TRAINING: LEAST_BATCH, units.CLASSIFYING: 2 * LEAST_IMAGES,
    units.EXPLAINING: 1 + LEAST_IMAGES, units.DRAWING: 1,
}  # fmt: skip


def _affordable(slot_s: float, each_s: float, most: int) -> int:
    """Pictures that take `slot_s`, a few at least."""
    return min(most, max(LEAST_IMAGES, int(slot_s / max(each_s, 1e-9))))


def _collector(bench: _Bench, part: Part) -> tuple[Collector, int]:
    """What asks an untrained model of `part`, and how many pictures it is asked at a time."""
    cell, recipe = part.cell, part.cell.recipe
    tested = bench.plan.datasets[recipe.dataset].num_images("test")
    dataset = random_pictures(bench.plan, cell, "test", min(256, tested))
    most = len(ranges_of(dataset, bench.plan.question).classified[0])
    model = fresh_classifier(recipe, dataset).eval().requires_grad_(False).to(bench.device)
    subject = Subject(
        model, recipe.pair_key, cell.key, recipe.backbone, recipe.arm, recipe.seed, "full"
    )
    defined, _ = bench.plan.question.defined_for(dataset)
    return Collector(subject, dataset, defined, bench.plan.protocol), most


def random_pictures(plan: Plan, cell: PlannedCell, split: str, count: int) -> Dataset:
    """Noise of the size, with the classes and their names, of the dataset of a cell."""
    facts = plan.datasets[cell.recipe.dataset]
    card = load_card(facts.name, plan.root)
    draws = make_generator(0, "pictures to time with")
    size = (count, 3, *facts.image_size)
    pixels = torch.randint(256, size, dtype=torch.uint8, generator=draws)
    regions = None
    if facts.has_regions:
        high, wide = facts.image_size
        regions = torch.zeros(count, high, wide, dtype=torch.bool)
        regions[:, high // 4 : -(-3 * high // 4), wide // 4 : -(-3 * wide // 4)] = True
    return Dataset(
        name=facts.name,
        title=facts.title,
        split=split,
        source=facts.source,
        class_names=facts.class_names,
        prompt_names=facts.prompt_names,
        labels=torch.randint(len(facts.class_names), (count,), generator=draws),
        image_ids=tuple(f"{split}/{number}" for number in range(count)),
        found_count=count,
        official_count=count,
        mean=card.mean,
        std=card.std,
        test_from_train=False,
        notes=(),
        fingerprint="noise",
        pictures=ArrayPictures(pixels),
        region_source=regions,
    )


class _RandomSplits(SplitCache):
    """Splits of random pictures."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.root)
        self._plan = plan

    def train(self, cell: PlannedCell) -> Dataset:
        """As many as the recipe takes at most."""
        return random_pictures(self._plan, cell, "train", cell.recipe.train_limit or 8)

    def test(self, cell: PlannedCell) -> Dataset:
        """A few."""
        return random_pictures(self._plan, cell, "test", 8)


def _time_small_run(bench: _Bench, write_report: WriteReport) -> Found:
    """What models and a report take that have next to nothing to do.

    Raises:
        LicoBenchError: if a model fails.
    """
    plan = make_plan(SMALL_RUN)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        run.open_for(plan.manifest())
        place = Workplace(plan, run, _RandomSplits(plan), str(bench.device), Silent())
        seconds = [bench.timed(partial(run_cell, cell, place)) for cell in plan.cells]
        if run.failures():
            raise LicoBenchError("the small run that is timed did not end well")
        report = bench.timed(partial(write_report, run))
    usual = {units.REPORT_TEXT: 1, units.REPORT_PLOT: units.num_plots(plan)}
    slower = report / sum(count * (unit.usual_s or 0.0) for unit, count in usual.items())
    told = {unit: Timing(slower * (unit.usual_s or 0.0)) for unit in usual}
    return {units.STORE: Timing(min(seconds)), **told}


@contextmanager
def _undisturbed(device: torch.device) -> Iterator[None]:
    """Put the random numbers of the process back after the block, and give memory back."""
    cards = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        try:
            yield
        finally:
            gc.collect()
            if cards:
                torch.cuda.empty_cache()


def _load_libraries(plan: Plan) -> None:
    """What every training needs, and takes seconds of its own to load."""
    if any(cell.encoder is not None for cell in plan.cells):
        from transformers import AutoTokenizer, BertModel  # noqa: F401
