"""How each unit of a run is timed: real updates and real scorings, of random pictures.

No picture of a dataset is read, and nothing is written but a small run that is thrown away.
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

from lico_bench.bench import units
from lico_bench.bench.calibration import Calibration, Timing
from lico_bench.bench.cell import Workplace, run_cell
from lico_bench.bench.plan import Plan, PlannedCell, make_plan
from lico_bench.bench.reporter import Silent
from lico_bench.bench.splits import SplitCache
from lico_bench.bench.suite import Suite
from lico_bench.bench.units import Part, Unit, training_batch
from lico_bench.bench.work import update_gigaflop
from lico_bench.data import load_card
from lico_bench.data.dataset import Dataset
from lico_bench.data.pictures import ArrayPictures
from lico_bench.data.scenes import CHUNK, draw_scenes
from lico_bench.errors import LicoBenchError, MissingDataError
from lico_bench.evaluation import Subject
from lico_bench.evaluation.collector import Collector
from lico_bench.evaluation.shards import ranges_of
from lico_bench.models import evaluating
from lico_bench.runtime import make_generator
from lico_bench.store import RunFolder
from lico_bench.training.preparation import fresh_classifier, prepare

LEAST_BATCH, LEAST_IMAGES = 4, 4
UPDATES = 6  # in one trial, at most
FIRST_UPDATE = 3  # updates that the first of an epoch takes, which looks closer
SMALL_RUN = Suite(
    datasets=("cifar10",), arms=("baseline", "lico"), seeds=2, profile="smoke", data="standin",
    methods=("grad_cam",), metrics=("insertion", "deletion"), limit=2,
    changes={
        "backbone": "wrn_10_1", "epochs": 1, "train_limit": 16, "batch_size": 8,
        "text_encoder": "random", "precision": "float32",
    },
)  # fmt: skip

WriteReport = Callable[[RunFolder], object]
Found = Mapping[Unit, Timing]


@dataclass(frozen=True)
class Bench:
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


def _time_update(bench: Bench, part: Part, known: Calibration, slot_s: float) -> Found:
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


def _time_classifying(bench: Bench, part: Part, known: Calibration, slot_s: float) -> Found:
    collector, most = _collector(bench, part)
    count = _affordable(slot_s / 2, known.timing(part.unit).seconds, most)
    indices = torch.arange(count)
    with evaluating(collector.subject.model):
        collector.classify(indices)  # kernels are chosen at the first call
        seconds = bench.timed(lambda: collector.classify(indices))
    return {part.unit: Timing(seconds / count, part.unit.gigaflop)}


def _time_explaining(bench: Bench, part: Part, known: Calibration, slot_s: float) -> Found:
    """One picture, and a few: a call takes time of its own, which many pictures share in a run."""
    collector, most = _collector(bench, part)
    most = min(most, round(part.count))
    methods = bench.plan.question.resolved_methods

    def seconds_for(count: int) -> float:
        indices, is_shown = torch.arange(count), [True] * count
        collector.classify(indices)
        return bench.timed(lambda: collector.score(indices, methods, is_shown))

    with evaluating(collector.subject.model):
        seconds_for(1)  # libraries are loaded and kernels chosen
        each = one = seconds_for(1)
        count = _affordable(slot_s, min(one, known.timing(part.unit).seconds), most)
        if count > 1:
            more = max(0.0, seconds_for(count) - one) / (count - 1)
            each = more + max(0.0, one - more) / most
    return {part.unit: Timing(each, part.unit.gigaflop)}


def _time_drawing(bench: Bench, part: Part, _known: Calibration, _slot_s: float) -> Found:
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
# Pictures, or lots of them, that the shortest trial needs.
LEAST = {units.CLASSIFYING: 2 * LEAST_IMAGES, units.EXPLAINING: LEAST_IMAGES, units.DRAWING: 1}


def least_seconds(bench: Bench, part: Part, known: Calibration) -> float:
    """That the shortest trial of a unit takes, going by `known`."""
    unit, cell = part.unit, part.cell
    each = known.timing(unit).seconds
    if unit.kind != units.TRAINING:
        return LEAST[unit.kind] * each
    batch = training_batch(cell, bench.plan.datasets[cell.recipe.dataset])
    least = _tried_updates(cell) * LEAST_BATCH * each / batch
    if cell.encoder is not None:
        least += known.timing(units.setup_unit(cell.encoder["name"])).seconds
    return least


def _affordable(slot_s: float, each_s: float, most: int) -> int:
    """Pictures that take `slot_s`, a few at least."""
    return min(most, max(LEAST_IMAGES, int(slot_s / max(each_s, 1e-9))))


def _collector(bench: Bench, part: Part) -> tuple[Collector, int]:
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


def time_small_run(bench: Bench, write_report: WriteReport) -> Found:
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
