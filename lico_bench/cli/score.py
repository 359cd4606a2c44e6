"""`lico-bench score`: explain and score user models on user images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lico_bench.cli import arguments
from lico_bench.cli.console import loading, new_console, say
from lico_bench.cli.options import check_names, check_out_folder, split_names

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench.user_plan import UserPlan


def score(
    model: arguments.ModelReference,
    images: arguments.ImageFolder,
    weights: arguments.Weights = None,
    layer: arguments.Layer = None,
    methods: arguments.ScoreMethods = "grad_cam,random_map",
    metrics: arguments.ScoreMetrics = "insertion,deletion,overall",
    protocol: arguments.Protocol = "lico_bench_1",
    normalise: arguments.Normalise = None,
    classes: arguments.Classes = None,
    image_size: arguments.ImageSize = None,
    arms: arguments.UserArms = "",
    limit: arguments.ScoreLimit = None,
    skip_broken: arguments.SkipBroken = False,
    device: arguments.Device = "auto",
    out: arguments.ScoresOut = None,
    wait: arguments.Wait = False,
) -> None:
    """Explain and score your model, or a pair, on your images."""
    from lico_bench.checks import check_count
    from lico_bench.data.find_files import find_images, read_class_names
    from lico_bench.metrics import PROTOCOLS
    from lico_bench.models.user_options import name_models

    for option, count in (("--limit", limit), ("--image-size", image_size)):
        if count is not None:
            check_count(option, count)
    check_names("saliency method", split_names(methods))
    check_names("metric", split_names(metrics))
    PROTOCOLS[protocol]
    names = None if classes is None else read_class_names(classes)
    name_models(model, weights or [], arms=split_names(arms), normalise=normalise)
    find_images(images)
    check_out_folder(out)
    with loading("score", "torch"):
        from lico_bench.bench import ExecutorOptions, execute
        from lico_bench.bench.user_plan import load_models, plan_user_models
        from lico_bench.cli.progress import end_run, reporter_for
        from lico_bench.data.folder import load_folder
        from lico_bench.evaluation import EvalConfig
        from lico_bench.runtime import pick_device

    console = new_console()
    eval_config = EvalConfig.of(split_names(methods), split_names(metrics), protocol, limit)
    models = load_models(
        model, weights or [], arms=split_names(arms), layer=layer, normalise=normalise,
        device=pick_device(device),
    )  # fmt: skip
    loaded = load_folder(images, image_size=image_size, classes=names, skip_broken=skip_broken)
    plan = plan_user_models(models, loaded, eval_config)
    folder = out or Path("results") / plan.name
    _print_setup(plan, folder, console)
    finished = execute(
        plan, folder, options=ExecutorOptions(device=device), wait=wait,
        reporter=reporter_for(console, action="score"),
    )  # fmt: skip
    end_run(finished, console, compared="the models")


def _print_setup(plan: UserPlan, folder: Path, console: Console) -> None:
    """Print the models, the images, the notes on how they were read, and the run folder."""
    data = plan.user_images.dataset
    lines = [
        f"{arm}: {model.reference}, {data.num_classes:,} classes, layer "
        f"{model.explained_layer or 'none'}, normalised: {model.normalisation.name}, weights "
        f"{'of the factory' if model.weights is None else model.weights} ({model.digest[:8]})"
        for arm, model in plan.models.items()
    ]
    kind = "labels from the folders" if plan.user_images.is_labelled else "no labels"
    lines.append(f"{data.title}: {len(data):,} images at {data.image_size[0]} px, {kind}")
    notes = [note for model in plan.models.values() for note in model.notes]
    lines += [*dict.fromkeys([*notes, *data.notes]), f"run folder: {folder}"]
    say(console, *(f"  {line}" for line in lines))
