"""Lock and repair a run folder and run its unfinished cells with an executor.

Models of another run with the same recipe, data and code are reused, since their weights are
identical. A started run keeps the precision that `auto` meant when it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from lico_bench.bench.cell import RunPlan
from lico_bench.bench.executors import EXECUTORS, ExecutorOptions
from lico_bench.bench.interruption import preemptible
from lico_bench.bench.plan import Plan
from lico_bench.bench.reporter import Reporter
from lico_bench.errors import BrokenFileError, InvalidInputError, MissingDataError
from lico_bench.records import AUTO, PRECISIONS
from lico_bench.runtime import has_bfloat16, native_precision, pick_device
from lico_bench.store import (
    SCORE_TABLES,
    CellFolder,
    RunFolder,
    RunLock,
    check_cell,
    remove_stale_files,
    repair_cell,
    seal_cell,
    write_bytes,
    write_json,
)
from lico_bench.store.cell_folder import TRAINING_FILES
from lico_bench.store.files import read_record
from lico_bench.store.run_records import CellEntry, CellRecipe, Manifest

SCORING_FIELDS = ("methods", "metrics", "protocols", "versions")
SEEDS_PER_BLOCK = 2
P = TypeVar("P", bound=Plan)


def execute(
    plan: RunPlan,
    out: Path,
    *,
    executor: str = "local",
    options: ExecutorOptions | None = None,
    wait: bool = False,
    reuse: RunFolder | None = None,
    starting: Callable[[RunFolder], object] = lambda _run: None,
    until_seed: int | None = None,
    reporter: Reporter,
) -> RunFolder:
    """Run every unfinished cell of `plan` into the folder `out`.

    Damaged files of finished cells are quarantined first and computed again. Failed cells are
    recorded in `RunFolder.failures`; the next call runs them again.

    Args:
        wait: wait for a process that holds the folder's lock instead of raising.
        reuse: a run whose models are copied if recipe, data and code are the same.
        starting: called after repair and reuse, before the first cell runs.
        until_seed: leave out cells of this seed and later ones; None runs all.

    Returns:
        The run folder; complete except for failed cells.

    Raises:
        RunMismatchError: if `out` holds another suite or other files; nothing is written.
        RunBusyError: if another process holds the lock.
        UnknownNameError: for an unknown executor.
        InvalidInputError: for a missing device, a suite with `data="official"`, or a published
            copy as `reuse`.
        DiskFullError: if the disk is full.
        Preempted: at a preemption signal (SIGTERM), after the current state is stored.
    """
    if isinstance(plan, Plan) and plan.suite.data == "official":
        raise InvalidInputError(
            "--data official can only be planned; "
            "use it with --plan, or run with --data auto, real or standin"
        )
    options = options or ExecutorOptions()
    run_cells = EXECUTORS[executor]
    pick_device(options.device)
    if reuse is not None:
        check_reusable(reuse)
    keys = [cell.key for cell in plan.cells]
    with open_run(out, plan.manifest(), keys, wait=wait, reporter=reporter) as run:
        if reuse is not None:
            reuse_models(plan, run, reuse, reporter)
        starting(run)
        selected = plan
        if isinstance(plan, Plan) and until_seed is not None:
            selected = plan.until_seed(until_seed)
        missing = [cell for cell in selected.cells if not run.cell(cell.key).is_done]
        reporter.begin(cells=len(selected.cells), work=sum(cell.cost.gigaflop for cell in missing))
        try:
            run_cells(selected, run, options=options, reporter=reporter)
        finally:
            reporter.end()
    return run


def execute_until_width(
    plan: Plan,
    out: Path,
    *,
    starting: Callable[[RunFolder], object] = lambda _run: None,
    reporter: Reporter,
    **options: Any,
) -> RunFolder:
    """Run `plan` in blocks of seeds until every primary interval is below its smallest effect.

    The rule looks at widths alone, never at differences or p-values, so that it favours no result.
    The blocks are declared by the call: the number of trainings that the claims require, then
    `SEEDS_PER_BLOCK` more per block, at most the seeds of the plan.

    Args:
        options: of `execute`, which has the other arguments too.

    Raises:
        InvalidInputError: if the plan has fewer seeds than a claim requires.
        LicoBenchError: as `execute`.
    """
    # Only here, so that other runs start without the claims' imports.
    from lico_bench.claims import interval_widths, judge_claims, read_claims

    arms = plan.suite.arms
    claims = [c for c in read_claims() if c.arm in arms and c.reference_arm in arms]
    if not claims:
        raise InvalidInputError(
            f"--until-width: no claim compares the arms {', '.join(arms)}; leave it out"
        )
    most = 1 + max(cell.recipe.seed for cell in plan.cells)
    num_seeds = max(claim.min_seeds for claim in claims)
    if num_seeds > most:
        raise InvalidInputError(
            f"--until-width: claims need {num_seeds} trainings per arm, the suite has at most "
            f"{most}; raise --seeds, the maximum"
        )
    while True:
        run = execute(
            plan, out, starting=starting, until_seed=num_seeds, reporter=reporter, **options
        )
        if run.failures():
            return run
        verdicts = judge_claims(run, run.manifest(), claims, inference=run.inference())
        widths = interval_widths(verdicts)
        wide = [width for width in widths if width.is_wide]
        trained = f"{num_seeds} trainings per arm"
        if not widths:
            reporter.note(f"{trained}: no claim is tested, {verdicts[0].sentence}")
            return run
        if not wide or num_seeds >= most:
            reason = "the most allowed" if wide else "every interval is narrow enough"
            reporter.note(f"{trained}: {reason}")
            return run
        reporter.note(
            f"{trained} are not enough: {wide[0].title} is known to ±{wide[0].half_width:.3g}, its "
            f"smallest effect is {wide[0].smallest_effect:g}"
        )
        num_seeds = min(num_seeds + SEEDS_PER_BLOCK, most)


@contextmanager
def open_run(
    out: Path, manifest: Manifest, keys: Iterable[str], *, wait: bool, reporter: Reporter
) -> Iterator[RunFolder]:
    """Lock the run folder `out`, check its manifest, remove stale files and repair its cells.

    Inside the block SIGTERM is a preemption signal. Records of failed cells are deleted, since
    these cells run again.

    Args:
        keys: keys of the suite's cells.

    Raises:
        RunMismatchError, BrokenFileError, RunBusyError: as `execute`.
    """
    run = RunFolder(out)
    run.check_for(manifest)  # before the lock file is written into a foreign folder
    with preemptible(), RunLock(out, wait=wait, note=reporter.note) as lock:
        for sentence in run.open_for(manifest):
            reporter.note(sentence)
        remove_stale_files(run.path, alone=lock.is_exclusive)
        for key in keys:
            for damage in repair_cell(run, key):
                reporter.note(f"{damage}; moved to {run.damaged}, will be computed again")
            run.cell(key).failure.unlink(missing_ok=True)
        yield run


def reuse_models(plan: RunPlan, run: RunFolder, source: RunFolder, reporter: Reporter) -> None:
    """Copy the models of finished cells from `source` into `run` and report their number.

    Equal cell keys imply the same recipe, data, text encoder and code, but not the same methods,
    metrics or protocol; one training therefore serves any number of these. The scores are copied as
    well if methods, metrics, protocol, limit and software versions are the same. Cells of `run`
    that are trained or have a checkpoint stay unchanged; damaged cells of `source` are skipped.
    """
    num_copied = num_present = 0
    copies_scores = _has_same_scoring(run.manifest(), source.manifest())
    for cell in plan.cells:
        target_cell, source_cell = run.cell(cell.key), source.cell(cell.key)
        if target_cell.model.is_file() or target_cell.checkpoint.is_file():
            num_present += 1
            continue
        if not source_cell.is_done:
            continue
        if damages := check_cell(source_cell):
            reporter.note(f"{damages[0]}; {cell.title} is trained again")
            continue
        write_json(target_cell.recipe, cell.entry())
        _copy(source_cell, target_cell, TRAINING_FILES[:-1])
        target_cell.write_weights(source_cell.model.read_bytes())
        if copies_scores:
            _copy(source_cell, target_cell, (source_cell.table(n).name for n in SCORE_TABLES))
            seal_cell(run, cell.key, source_cell.record())
        num_copied += 1
    present = ""
    if num_present:
        present = f"; {num_present} {'was' if num_present == 1 else 'were'} here before"
    reporter.note(f"{num_copied} of {len(plan.cells)} models taken from {source.path}{present}")


def check_reusable(source: RunFolder) -> None:
    """Raise InvalidInputError for a published copy, which has no models."""
    if source.is_published:
        raise InvalidInputError(
            f"{source.path}: a published copy, whose weights were left out; "
            "name the run that it is a copy of"
        )


def _has_same_scoring(manifest: Manifest, source: Manifest) -> bool:
    """Whether scores of the source run can be reused.

    Only self-scored models qualify, since another network of the pair may differ.
    """
    scorers = {rules.get("scorer", "own") for rules in manifest.protocols.values()}
    is_same = all(getattr(manifest, name) == getattr(source, name) for name in SCORING_FIELDS)
    is_same_limit = manifest.suite.limit == source.suite.limit
    return is_same and scorers == {"own"} and is_same_limit


def _copy(source: CellFolder, target: CellFolder, names: Iterable[str]) -> None:
    for name in names:
        if (source.path / name).is_file():
            write_bytes(target.path / name, (source.path / name).read_bytes())


def resolve_run_precision(plan: P, folder: Path, device: str) -> tuple[P, tuple[str, ...]]:
    """Return the plan in the precision that its run began with, and notes for the user.

    All trainings of a run share the precision that `auto` was resolved to at its start, also if
    the run continues on another kind of machine.

    Raises:
        InvalidInputError: if the run began in a precision that `device` cannot compute.
    """
    native = native_precision(pick_device(device))
    notes = []
    stored = _stored_precision(plan, folder)
    if stored is not None and stored != plan.auto_precision:
        plan = plan.with_precision(stored)
        notes.append(
            f"this run began in {stored} and continues in it, although auto means {native.name} "
            "on this machine"
        )
    used = {cell.recipe.precision for cell in plan.cells}
    if "bfloat16" in used and native.name != "bfloat16":
        if not has_bfloat16(pick_device(device)):
            raise InvalidInputError(
                f"{folder}: its trainings use bfloat16, which device '{device}' cannot compute; "
                "continue with --device cpu, or start a new run with another --out"
            )
        notes.append(
            f"bfloat16 is slow here: {native.reason}, ten times slower than float32; for a new "
            "run use --precision float32"
        )
    return plan, tuple(notes)


def _stored_precision(plan: Plan, folder: Path) -> str | None:
    """Return the precision that `auto` was resolved to in `folder`; None if not stored."""
    if plan.auto_precision is None or not folder.is_dir():
        return None
    auto_recipes = {(r.dataset, r.arm, r.seed) for r in plan.requested if r.precision == AUTO}
    for recipe in _stored_recipes(RunFolder(folder)):
        if (recipe.dataset, recipe.arm, recipe.seed) in auto_recipes:
            return recipe.precision if recipe.precision in PRECISIONS[1:] else None
    return None


def _stored_recipes(run: RunFolder) -> list[CellRecipe]:
    """Return the recipes of the manifest; if it is missing or damaged, those in cell folders."""
    try:
        return [cell.recipe for cell in run.manifest().cells]
    except (MissingDataError, BrokenFileError):
        recipes = []
        for path in sorted(run.path.glob("cells/*/recipe.json")):
            with suppress(MissingDataError, BrokenFileError):
                recipes.append(read_record(CellEntry, path).recipe)
        return recipes
