"""`lico-bench explain`: one image, the maps of several models and methods over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.loading import loading
from lico_bench.cli.names import check_names
from lico_bench.cli.options import split_names
from lico_bench.cli.score import Classes, Device, ImageSize, Layer, Normalise, UserArms, Weights

if TYPE_CHECKING:
    import torch

    from lico_bench.bench.explain_image import ExplainSubjects, Explanation

SUFFIXES = (".png", ".pdf")


def explain(
    image: Annotated[Path, typer.Argument(help="An image.")],
    run: Annotated[
        Path | None, typer.Option(help="A run folder; the newest that trained models by default.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Of the run; its first by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the trainings of the run.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(help="In place of a run: package.module:name or path/to/file.py:name."),
    ] = None,
    weights: Weights = None,
    layer: Layer = None,
    normalise: Normalise = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    arms: UserArms = "",
    methods: Annotated[str, typer.Option(help="See `ls methods`.")] = "grad_cam",
    class_: Annotated[
        str | None,
        typer.Option("--class", help="Name or number to explain; else the first prediction."),
    ] = None,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="PNG or PDF, by its suffix.")] = Path("explain.png"),
) -> None:
    """Draw the maps of an image: a row per model, a column per method."""
    from lico_bench.bench.user_request import name_models
    from lico_bench.checks import check_count
    from lico_bench.data.user_images import read_class_names
    from lico_bench.errors import InvalidInputError, MissingDataError
    from lico_bench.store.run_location import check_is_run, check_out_folder

    if out.suffix.lower() not in SUFFIXES:
        raise InvalidInputError(f"--out {out}: expected a name ending in .png or .pdf")
    check_out_folder(out.parent)
    of_run = {"--run": run, "--dataset": dataset}
    of_own = {
        "--weights": weights, "--layer": layer, "--normalise": normalise, "--classes": classes,
        "--image-size": image_size, "--arms": arms,
    }  # fmt: skip
    _refuse_mixture(of_own if model is None else of_run, is_run=model is None)
    check_count("--seed", seed, at_least=0)
    if image_size is not None:
        check_count("--image-size", image_size)
    names = split_names(methods)
    check_names("saliency method", names)
    if run is not None:
        check_is_run(run)
    class_names = None if classes is None else read_class_names(classes)
    if model is not None:
        name_models(model, weights or [], arms=split_names(arms), normalise=normalise)
    if not image.is_file():
        raise MissingDataError(f"no such image: {image}; correct the path")
    with loading("explain", "torch", "matplotlib"):
        from lico_bench.bench.explain_image import explain_image, read_image
        from lico_bench.cli.console import new_console
        from lico_bench.cli.progress import working
        from lico_bench.report.figures.overlay import draw_overlay
        from lico_bench.runtime import pick_device
        from lico_bench.store import write_bytes

    console, place = new_console(), pick_device(device)
    with working(console, "Explaining"):
        if model is None:
            subjects = _run_subjects(run, dataset, seed, place)
        else:
            subjects = _user_subjects(
                image, model, weights or [], arms=split_names(arms), layer=layer,
                normalise=normalise, image_size=image_size, classes=class_names, methods=names,
                device=place,
            )  # fmt: skip
        made = explain_image(
            read_image(image, subjects.fit).to(place), subjects.models, methods=names,
            class_names=subjects.class_names, chosen=class_,
        )  # fmt: skip
        plot = draw_overlay(made)
        write_bytes(out, plot.pdf if out.suffix.lower() == ".pdf" else plot.png)
    notes = [f"  {note}" for note in subjects.notes]
    for line in (*notes, *_lines(made), f"Image: {out}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _refuse_mixture(options: Mapping[str, object], *, is_run: bool) -> None:
    from lico_bench.errors import InvalidInputError

    given = [name for name, value in options.items() if value]
    if given and is_run:
        raise InvalidInputError(f"{', '.join(given)}: belongs to --model; name the model, too")
    if given:
        raise InvalidInputError(f"{', '.join(given)}: belongs to a run; leave it or --model out")


def _run_subjects(
    run: Path | None, dataset: str | None, seed: int, device: torch.device
) -> ExplainSubjects:
    from lico_bench.bench.explain_image import models_of_run, newest_trained_run
    from lico_bench.store import read_run

    folder = newest_trained_run() if run is None else read_run(run)
    return models_of_run(folder, dataset=dataset, seed=seed, device=device)


def _user_subjects(
    image: Path, model: str, weights: list[Path], *, arms: tuple[str, ...], layer: str | None,
    normalise: str | None, image_size: int | None, classes: tuple[str, ...] | None,
    methods: tuple[str, ...], device: torch.device,
) -> ExplainSubjects:  # fmt: skip
    from lico_bench.bench.explain_image import user_subjects
    from lico_bench.bench.user_suite import load_models

    models = load_models(model, weights, arms=arms, layer=layer, normalise=normalise, device=device)
    return user_subjects(models, image, methods=methods, image_size=image_size, classes=classes)


def _lines(made: Explanation) -> list[str]:
    """What each model predicts, for those who do not open the image."""
    lines = [f"  class explained: {made.target} ({made.chosen_by})"]
    for row in made.rows:
        flat = [one.title for one in row.maps if one.is_flat]
        note = f"; flat map: {', '.join(flat)}" if flat else ""
        lines.append(f"  {row.title}: predicts {row.predicted} {row.probability:.1%}{note}")
    return lines
