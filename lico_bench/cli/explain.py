"""`lico-bench explain`: draw the saliency maps of several models and methods over one image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console, say, working
from lico_bench.cli.options import check_names, check_out_folder, split_names

if TYPE_CHECKING:
    import torch

    from lico_bench.bench.explain_image import ExplainSubjects, Explanation

SUFFIXES = (".png", ".pdf")


def explain(
    image: arguments.ImageFile,
    run: arguments.RunToExplain = None,
    dataset: arguments.Dataset = None,
    seed: arguments.Seed = 0,
    model: arguments.OptionalModel = None,
    weights: arguments.Weights = None,
    layer: arguments.Layer = None,
    normalise: arguments.Normalise = None,
    classes: arguments.Classes = None,
    image_size: arguments.ImageSize = None,
    arms: arguments.UserArms = "",
    methods: arguments.ScoreMethods = "grad_cam",
    class_: arguments.TargetClass = None,
    device: arguments.Device = "auto",
    out: arguments.FigureOut = Path("explain.png"),
) -> None:
    """Draw the saliency maps of an image.

    The figure has one row per model and one column per method.
    """
    from lico_bench.data.find_files import read_class_names
    from lico_bench.models.user_options import name_models
    from lico_bench.store.files import check_is_run

    run_options = {"--run": run, "--dataset": dataset}
    user_model_options = {
        "--weights": weights, "--layer": layer, "--normalise": normalise, "--classes": classes,
        "--image-size": image_size, "--arms": arms,
    }  # fmt: skip
    _check_not_mixed(user_model_options if model is None else run_options, is_run=model is None)
    _check_counts_and_files(image, out, seed=seed, image_size=image_size)
    names = split_names(methods)
    check_names("saliency method", names)
    if run is not None:
        check_is_run(run)
    class_names = None if classes is None else read_class_names(classes)
    if model is not None:
        name_models(model, weights or [], arms=split_names(arms), normalise=normalise)
    with loading("explain", "torch", "matplotlib"):
        from lico_bench.runtime import pick_device

    console, torch_device = new_console(), pick_device(device)
    with working(console, "Explaining"):
        if model is None:
            subjects = _run_subjects(run, dataset, seed, torch_device)
        else:
            subjects = _user_subjects(
                image, model, weights or [], arms=split_names(arms), layer=layer,
                normalise=normalise, image_size=image_size, classes=class_names, methods=names,
                device=torch_device,
            )  # fmt: skip
        explanation = _draw(image, subjects, names, class_, torch_device, out)
    notes = [f"  {note}" for note in subjects.notes]
    say(console, *notes, *_prediction_lines(explanation), f"Image: {out}")


def _draw(
    image: Path, subjects: ExplainSubjects, methods: tuple[str, ...], target: str | None,
    device: torch.device, out: Path,
) -> Explanation:  # fmt: skip
    """Explain the image and write the figure."""
    from lico_bench.bench.explain_image import explain_image, read_image
    from lico_bench.report.figures.maps import draw_overlay
    from lico_bench.store import write_bytes

    explanation = explain_image(
        read_image(image, subjects.fit).to(device), subjects.models, methods=methods,
        class_names=subjects.class_names, chosen=target,
    )  # fmt: skip
    plot = draw_overlay(explanation)
    write_bytes(out, plot.pdf if out.suffix.lower() == ".pdf" else plot.png)
    return explanation


def _check_counts_and_files(image: Path, out: Path, *, seed: int, image_size: int | None) -> None:
    from lico_bench.checks import check_count
    from lico_bench.errors import InvalidInputError, MissingDataError

    if out.suffix.lower() not in SUFFIXES:
        raise InvalidInputError(
            f"--out {out}: expected a name ending in .png or .pdf, got '{out.suffix}'; rename it"
        )
    check_out_folder(out.parent)
    check_count("--seed", seed, at_least=0)
    if image_size is not None:
        check_count("--image-size", image_size)
    if not image.is_file():
        raise MissingDataError(f"no such image: {image}; correct the path")


def _check_not_mixed(options: Mapping[str, object], *, is_run: bool) -> None:
    """Raise if any of `options`, which belong to the other kind of models, has a value."""
    from lico_bench.errors import InvalidInputError

    given = ", ".join(name for name, value in options.items() if value)
    if given and is_run:
        raise InvalidInputError(f"{given}: expected only with --model; add --model, too")
    if given:
        raise InvalidInputError(f"{given}: expected only without --model; omit it or --model")


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
    from lico_bench.bench.user_plan import load_models

    models = load_models(model, weights, arms=arms, layer=layer, normalise=normalise, device=device)
    return user_subjects(models, image, methods=methods, image_size=image_size, classes=classes)


def _prediction_lines(explanation: Explanation) -> list[str]:
    """Return the target class and each model's prediction as text."""
    lines = [f"  class explained: {explanation.target} ({explanation.chosen_by})"]
    for row in explanation.rows:
        flat = [saliency_map.title for saliency_map in row.maps if saliency_map.is_flat]
        note = f"; flat map: {', '.join(flat)}" if flat else ""
        lines.append(f"  {row.title}: predicts {row.predicted} {row.probability:.1%}{note}")
    return lines
