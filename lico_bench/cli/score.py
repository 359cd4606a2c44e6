"""`lico-bench score`: explain and score user models on user images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lico_bench.cli.finish import end_run, reporter_for
from lico_bench.cli.loading import loading
from lico_bench.cli.names import check_names
from lico_bench.cli.options import split_names

if TYPE_CHECKING:
    from rich.console import Console

    from lico_bench.bench.user_suite import UserSuite

# Shared with `explain`.
Weights = Annotated[
    list[Path] | None,
    typer.Option(
        help="Weights file, safetensors or state dict; give two for a pair, the baseline first."
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(help="Dotted name of the layer for CAM methods: the last convolutional layer."),
]
Normalise = Annotated[
    str | None,
    typer.Option(
        help="Normalisation: imagenet, none or m1,m2,m3/s1,s2,s3. "
        "Default: imagenet for torchvision networks, else none."
    ),
]
Classes = Annotated[
    Path | None, typer.Option(help="File of class names, one per line, in index order.")
]
ImageSize = Annotated[
    int | None,
    typer.Option(help="Side of the images in px. Default: 224, or the side of smaller squares."),
]
UserArms = Annotated[
    str, typer.Option(help="Names of the models, comma-separated, the baseline first.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]


def score(
    model: Annotated[
        str, typer.Option(help="Your model: package.module:name or path/to/file.py:name.")
    ],
    images: Annotated[
        Path, typer.Option(help="Image folder: DIR/<class>/* with labels, or DIR/* without.")
    ],
    weights: Weights = None,
    layer: Layer = None,
    methods: Annotated[
        str, typer.Option(help="Saliency methods, comma-separated; see `lico-bench ls methods`.")
    ] = "grad_cam,random_map",
    metrics: Annotated[
        str, typer.Option(help="Metrics, comma-separated; see `lico-bench ls metrics`.")
    ] = "insertion,deletion,overall",
    protocol: Annotated[
        str,
        typer.Option(help="Rules of the perturbation curves; see `lico-bench ls protocols`."),
    ] = "lico_bench_1",
    normalise: Normalise = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    arms: UserArms = "",
    limit: Annotated[
        int | None, typer.Option(help="Number of images to explain per model. Default: all.")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Skip unreadable images and record them.")
    ] = False,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: results/<name>.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another process that uses the run folder.")
    ] = False,
) -> None:
    """Explain and score your model, or a pair, on your images."""
    from lico_bench.bench.user_request import name_models
    from lico_bench.checks import check_count
    from lico_bench.data.user_images import find_images, read_class_names
    from lico_bench.metrics import PROTOCOLS
    from lico_bench.store.run_location import check_out_folder

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
        from lico_bench.bench.user_scoring import score_user_models
        from lico_bench.bench.user_suite import load_models, plan_user_suite
        from lico_bench.cli.console import new_console
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
    suite = plan_user_suite(models, loaded, eval_config)
    folder = out or Path("results") / suite.name
    _print_setup(suite, folder, console)
    reporter = reporter_for(console, action="score")
    finished = score_user_models(suite, folder, wait=wait, reporter=reporter)
    end_run(finished, console, compared="the models")


def _print_setup(suite: UserSuite, folder: Path, console: Console) -> None:
    """Print the models, the images, the notes on how they were read, and the run folder."""
    data = suite.user_images.dataset
    lines = [
        f"{arm}: {model.reference}, {data.num_classes:,} classes, layer "
        f"{model.explained_layer or 'none'}, normalised: {model.normalisation.name}, weights "
        f"{'of the factory' if model.weights is None else model.weights} ({model.digest[:8]})"
        for arm, model in suite.models.items()
    ]
    kind = "labels from the folders" if suite.user_images.is_labelled else "no labels"
    lines.append(f"{data.title}: {len(data):,} images at {data.image_size[0]} px, {kind}")
    notes = [note for model in suite.models.values() for note in model.notes]
    for line in (*lines, *dict.fromkeys([*notes, *data.notes]), f"run folder: {folder}"):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
