"""`lico-bench run`: plan, train, explain, score, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from lico_bench.cli.ending import reporter_for, show_results
from lico_bench.cli.options import parse_labels, parse_settings, split_names

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench import Plan, Suite


def run(
    datasets: Annotated[
        str, typer.Option(help="Names with commas between, or all. See `ls datasets`.")
    ] = "all",
    profile: Annotated[
        str, typer.Option(help="smoke (seconds), quick (minutes), paper.")
    ] = "quick",
    arms: Annotated[str, typer.Option(help="What to train. See `ls arms`.")] = "baseline,lico",
    seeds: Annotated[
        int | None, typer.Option(help="Trainings per arm; 1, 2, 5 by profile.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="See `ls methods`; rise(num_masks=200) sets an option.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="See `ls metrics`.")] = None,
    protocol: Annotated[str, typer.Option(help="Rules of the curves.")] = "lico_bench_1",
    scorer: Annotated[
        str | None,
        typer.Option(help="Whose network scores the maps: own, or one arm's; by protocol."),
    ] = None,
    data: Annotated[
        str, typer.Option(help="auto: real pictures where found, else stand-ins; real; standin.")
    ] = "auto",
    data_root: Annotated[
        Path | None, typer.Option(help="Folder with the datasets; else LICO_BENCH_DATA.")
    ] = None,
    labels: Annotated[str, typer.Option(help="full, or how many labelled pictures.")] = "full",
    backbone: Annotated[str | None, typer.Option(help="Instead of the card's.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="See `ls encoders`.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the training: float32 or bfloat16; else the card's.")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave unreadable images out and record them.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Pictures to explain per model.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    executor: Annotated[str, typer.Option(help="Where cells run.")] = "local",
    out: Annotated[Path | None, typer.Option(help="Run folder; results/<name> by default.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="recipe.NAME=VALUE or objective.NAME=VALUE; repeatable."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would run, and stop.")] = False,
) -> None:
    """Train pairs, explain and score them, and write the report. Resumes by itself."""
    from rich.console import Console

    from lico_bench.bench import execute, make_plan

    console = Console()
    suite = _suite(
        datasets=datasets, profile=profile, arms=arms, seeds=seeds, methods=methods,
        metrics=metrics, protocol=protocol, data=data, limit=limit, settings=set_ or [],
        labels=labels, backbone=backbone, text_encoder=text_encoder, precision=precision,
        data_root=data_root, skip_broken=skip_broken, scorer=scorer,
    )  # fmt: skip
    made = make_plan(suite, root=data_root)
    folder = out or Path("results") / made.name
    _announce(made, folder, console)
    if plan:
        _show_plan(made, device, console)
        return
    finished = execute(
        made, folder, device=device, executor=executor, reporter=reporter_for(console)
    )
    show_results(finished, console, comparing="the arms")


def _suite(
    *, datasets: str, profile: str, arms: str, seeds: int | None, methods: str | None,
    metrics: str | None, protocol: str, data: str, limit: int | None, settings: list[str],
    labels: str, backbone: str | None, text_encoder: str | None, precision: str | None,
    data_root: Path | None, skip_broken: bool, scorer: str | None,
) -> Suite:  # fmt: skip
    from lico_bench.bench import PROFILES, Suite
    from lico_bench.data import card_names
    from lico_bench.errors import UnknownNameError

    if profile not in PROFILES:
        raise UnknownNameError.of("profile", profile, PROFILES)
    size = PROFILES[profile]
    written, objective = parse_settings(settings)
    changes: dict[str, Any] = dict(written)
    if labels != "full":
        changes["labels"] = parse_labels(labels)
    if skip_broken:
        changes["skip_broken"] = True
    named = {"backbone": backbone, "text_encoder": text_encoder, "precision": precision}
    changes |= {name: value for name, value in named.items() if value is not None}
    return Suite(
        datasets=card_names(data_root) if datasets == "all" else split_names(datasets),
        arms=split_names(arms),
        seeds=size.seeds if seeds is None else seeds,
        profile=profile,
        methods=size.methods if methods is None else split_names(methods),
        metrics=size.metrics if metrics is None else split_names(metrics),
        protocol=protocol,
        data=cast(Literal["auto", "real", "standin"], data),
        limit=size.limit if limit is None else limit,
        changes=changes,
        objective=objective,
        scorer=scorer,
    )


def _announce(plan: Plan, folder: Path, console: Console) -> None:
    """One line per dataset that says which pictures will be used."""
    for facts in plan.datasets.values():
        console.print(f"  {facts.summary()}", highlight=False, soft_wrap=True)
    console.print(f"  run folder: {folder}", highlight=False, soft_wrap=True)


def _show_plan(plan: Plan, device: str, console: Console) -> None:
    from rich.table import Table

    from lico_bench.bench.work import measure_speed
    from lico_bench.cli.progress import format_seconds
    from lico_bench.runtime import pick_device

    speed = measure_speed(pick_device(device))
    table = Table(title=f"{len(plan.cells)} models, {plan.protocol.id}")
    for heading in ("cell", "backbone", "updates", "forwards", "disk", "about"):
        table.add_column(heading, justify="left" if heading in ("cell", "backbone") else "right")
    seconds = 0.0
    for cell in plan.cells:
        work = cell.work
        took = work.gigaflop / speed
        seconds += took
        table.add_row(
            cell.title, cell.recipe.backbone, f"{work.updates:,}", f"{work.forwards:,}",
            f"{work.disk_bytes / 1e6:.1f} MB", format_seconds(took),
        )  # fmt: skip
    total = sum(cell.work.disk_bytes for cell in plan.cells)
    forwards = sum(cell.work.forwards for cell in plan.cells)
    console.print(table)
    console.print(
        f"{forwards:,} forwards for scoring, {total / 1e6:.0f} MB on disk, roughly "
        f"{format_seconds(seconds)} here ({speed:.0f} GFLOP/s measured). Nothing was run.",
        highlight=False,
    )
