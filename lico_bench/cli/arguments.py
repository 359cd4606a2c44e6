"""Types and help texts of the options of `run`, `score`, `explain`, and of shared options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Weights = Annotated[
    list[Path] | None,
    typer.Option(
        help="Weights file, safetensors or state dict; give two for a pair, the baseline first."
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="Dotted name of the layer for CAM methods. Default: the last convolutional layer."
    ),
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
SuiteFile = Annotated[
    Path | None,
    typer.Option(help="TOML file of the suite; options given here override it."),
]
Datasets = Annotated[
    str,
    typer.Option(help="Datasets, comma-separated, or all; see `lico-bench ls datasets`."),
]
Profile = Annotated[
    str, typer.Option(help="Size of the suite: smoke (seconds), quick (minutes) or paper.")
]
Arms = Annotated[
    str, typer.Option(help="Arms to train, comma-separated; see `lico-bench ls arms`.")
]
Seeds = Annotated[
    int | None,
    typer.Option(help="Trainings per arm. Default by profile: smoke 1, quick 2, paper 5."),
]
UntilWidth = Annotated[
    bool,
    typer.Option(
        "--until-width",
        help="Train seeds in blocks until the claims' intervals are narrower than the smallest "
        "effects; --seeds is the maximum.",
    ),
]
Methods = Annotated[
    str | None,
    typer.Option(
        help="Saliency methods, comma-separated, with options as in rise(num_masks=200); "
        "see `lico-bench ls methods`. Default by profile."
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option(help="Metrics, comma-separated; see `lico-bench ls metrics`. Default by profile."),
]
Protocol = Annotated[
    str,
    typer.Option(help="Rules of the perturbation curves; see `lico-bench ls protocols`."),
]
Scorer = Annotated[
    str | None,
    typer.Option(
        help="Network that scores the maps: own (each model its own maps) or an arm. "
        "Default by protocol."
    ),
]
DataChoice = Annotated[
    str,
    typer.Option(
        help="auto (real images if found, else stand-ins), real, standin, or official "
        "(complete datasets; only with --plan)."
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of the datasets. Default: LICO_BENCH_DATA.")
]
Labels = Annotated[str, typer.Option(help="Label budget: full, or a number of labelled images.")]
Backbone = Annotated[
    str | None,
    typer.Option(help="Backbone; see `lico-bench ls backbones`. Default: the dataset card's."),
]
TextEncoder = Annotated[
    str | None,
    typer.Option(
        help="Text encoder of the LICO arms; see `lico-bench ls encoders`. Default: minilm."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="Precision of training: auto, float32 or bfloat16. Default: the dataset card's."
    ),
]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Skip unreadable images and record them.")
]
Limit = Annotated[
    int | None, typer.Option(help="Number of images to explain per model. Default by profile.")
]
Executor = Annotated[str, typer.Option(help="Executor of the cells, such as local or ray.")]
Workers = Annotated[int, typer.Option(help="Processes that run cells in parallel on this machine.")]
Devices = Annotated[int, typer.Option(help="Processes per machine that train each model together.")]
NumNodes = Annotated[
    int,
    typer.Option(help="Machines that train each model together; see docs/how-to/large-runs.md."),
]
Address = Annotated[
    str | None, typer.Option(help="Address of the Ray cluster, with --executor ray.")
]
RunOut = Annotated[
    Path | None, typer.Option(help="Run folder. Default: results/<name of the suite>.")
]
ReuseRun = Annotated[
    Path | None,
    typer.Option(help="Run whose models are reused if recipe, data and code are the same."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for another process that uses the run folder.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="recipe.NAME=VALUE or objective.NAME=VALUE; repeatable."),
]
AsPublished = Annotated[
    bool,
    typer.Option(
        "--as-published", help="Use the paper's loss weights instead of the dataset cards'."
    ),
]
PlanOnly = Annotated[
    bool, typer.Option("--plan", help="Print cells, time and disk space; run nothing.")
]
Calibrate = Annotated[
    bool,
    typer.Option("--calibrate", help="With --plan: calibrate the time first (one minute)."),
]
ModelReference = Annotated[
    str, typer.Option(help="Your model: package.module:name or path/to/file.py:name.")
]
ImageFolder = Annotated[
    Path, typer.Option(help="Image folder: DIR/<class>/* with labels, or DIR/* without.")
]
ScoreMethods = Annotated[
    str, typer.Option(help="Saliency methods, comma-separated; see `lico-bench ls methods`.")
]
ScoreMetrics = Annotated[
    str, typer.Option(help="Metrics, comma-separated; see `lico-bench ls metrics`.")
]
ScoreLimit = Annotated[
    int | None, typer.Option(help="Number of images to explain per model. Default: all.")
]
ScoresOut = Annotated[Path | None, typer.Option(help="Run folder. Default: results/<name>.")]
ImageFile = Annotated[Path, typer.Argument(help="Image file.")]
RunToExplain = Annotated[
    Path | None,
    typer.Option(help="Run folder. Default: the newest run with trained models."),
]
Dataset = Annotated[
    str | None, typer.Option(help="Dataset of the run. Default: its first dataset.")
]
Seed = Annotated[int, typer.Option(help="Seed of the run's models.")]
OptionalModel = Annotated[
    str | None,
    typer.Option(help="Your model instead of a run: package.module:name or path/to/file.py:name."),
]
TargetClass = Annotated[
    str | None,
    typer.Option(
        "--class", help="Target class: name or index. Default: the first model's prediction."
    ),
]
FigureOut = Annotated[Path, typer.Option(help="Output file, .png or .pdf.")]
