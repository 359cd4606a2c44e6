"""What a cell costs, counted before it is run: updates, forwards, operations, bytes.

With B images in a batch, P passes per update (2 for an arm that looks at changed copies), E
epochs of U updates, N images tested and n explained by M methods and m metrics, c_M forwards of
a method's map and its scores, p parameters and h x w px:

    forwards of training = E U B P, as many backwards; operations 3 times those of the forwards
    forwards of scoring  = N + n sum_M c_M; c_M = 1 + 2 * 32 for a CAM under insertion and deletion
    rows                 = 3 N + n (M m + 3)
    bytes read           = 3 h w (E U B + N + n), as decoded pixels
    weights              = 4 p
    checkpoints          = 2 (8 p + 8 q): the last two, each of weights and momentum of p and of
                           the q parameters that the objective has of its own

The counts are exact for the network; what they take here is `bench.estimate`'s to say.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import torch

from lico_bench.data import DatasetFacts
from lico_bench.evaluation import EvalConfig
from lico_bench.evaluation.gallery import IMAGE_SIDE_PX, MAP_SIDE_PX
from lico_bench.evaluation.scoring import GALLERY_IMAGES
from lico_bench.models import BACKBONES
from lico_bench.records import Recipe
from lico_bench.runtime import seeded
from lico_bench.saliency import Setting
from lico_bench.training import ArmOptions, EncoderSize, resolve_options

PROBE = "wrn_10_2"  # whose forward the speed of a machine is measured with
PYTHON_S = 0.01  # one round of `measure_slowness`, on two quiet cores with AVX2
BACKWARD_FACTOR = 2  # operations of a backward pass, in forwards
# The next two were measured against small convolutions and stand for as many of their operations.
TEXT_GIGAFLOP_PER_TOKEN = 0.03  # MiniLM, forward and the backward pass to its input
TRANSPORT_GIGAFLOP_PER_ENTRY = 1.3e-5  # one entry of a cost matrix, solved and differentiated
TOKENS_PER_PROMPT = 17  # 12 of context, specials, a short name
ROW_BYTES = 6  # compressed Parquet, measured on a quick run
CURVE_BYTES = 4.5  # per point
IMAGE_BYTES = 2.4  # per pixel of a kept image, PNG
MAP_BYTES = 1.7  # per pixel of a kept map, float16, compressed
OWN_ROWS = 3  # scores of the model itself, per image
END_ROWS = 3  # and of the whole, blurred and emptied image, per explained one
WEIGHT_BYTES = 4  # of a parameter
MOMENTUM_BYTES = 4  # beside it, in a checkpoint
CHECKPOINTS = 2  # the last one and the one before
TEXT_ENCODERS = {  # without loading them
    "minilm": EncoderSize(384, 22_600_000), "clip_vit_b32": EncoderSize(512, 63_000_000),
}  # fmt: skip


@dataclass(frozen=True)
class ComputeCost:
    """Counts of one cell.

    Attributes:
        updates: optimiser steps.
        train_images: images seen in training, repeats counted.
        train_forwards: images sent through the model by training, and as many back.
        forwards: images sent through the model by scoring.
        train_gigaflop, score_gigaflop: operations of the network and of the text encoder.
        rows: scores of single images.
        read_bytes: decoded pixels that the network is given, images changed by scoring aside.
        checkpoint_bytes: state of the unfinished training, with the one before.
        disk_bytes: rows, curves, kept images and weights.
    """

    updates: int
    train_images: int
    train_forwards: int
    forwards: int
    train_gigaflop: float
    score_gigaflop: float
    rows: int
    read_bytes: int
    checkpoint_bytes: int
    disk_bytes: int

    @property
    def gigaflop(self) -> float:
        """Operations in all."""
        return self.train_gigaflop + self.score_gigaflop


def estimate_compute(recipe: Recipe, facts: DatasetFacts, eval_config: EvalConfig) -> ComputeCost:
    """Counts for training `recipe` and asking it `question`."""
    images = split_images(recipe, facts, "train")
    batch = min(recipe.batch_size, images)
    updates = max(1, images // recipe.batch_size) * recipe.epochs
    tested, explained = facts.num_images("test"), explained_images(facts, eval_config)
    methods = len(eval_config.resolved_methods)
    per_map = sum(
        method_forwards(recipe.backbone, facts, eval_config, m) for m in eval_config.methods
    )
    forwards = tested + round(explained * per_map)
    points = len(eval_config.protocol.changed_px(facts.image_size[0] * facts.image_size[1]))
    options = resolve_options(recipe.arm, dict(recipe.objective))
    rows = OWN_ROWS * tested
    rows += explained * (methods * len(eval_config.resolved_metrics) + END_ROWS)
    parameters = parameter_count(recipe.backbone)
    encoder = TEXT_ENCODERS.get(recipe.text_encoder, TEXT_ENCODERS["minilm"])
    channels = BACKBONES[recipe.backbone].channels
    own = options.own_parameters(len(facts.class_names), channels, encoder)
    read = updates * batch + tested + explained
    return ComputeCost(
        updates=updates,
        train_images=updates * batch,
        train_forwards=updates * batch * options.forwards_per_step(),
        forwards=forwards,
        train_gigaflop=updates * update_gigaflop(recipe, facts, batch),
        score_gigaflop=forwards * forward_gigaflop(recipe.backbone, facts.image_size),
        rows=rows,
        read_bytes=3 * math.prod(facts.image_size) * read,
        checkpoint_bytes=CHECKPOINTS * (WEIGHT_BYTES + MOMENTUM_BYTES) * (parameters + own),
        disk_bytes=int(
            ROW_BYTES * rows
            + CURVE_BYTES * 2 * points * explained * methods
            + _gallery_bytes(facts.image_size, explained, methods)
            + WEIGHT_BYTES * parameters
        ),
    )


def update_gigaflop(recipe: Recipe, facts: DatasetFacts, batch: int) -> float:
    """Operations of one update on `batch` images, 10⁹: the network's and the text encoder's."""
    options = resolve_options(recipe.arm, dict(recipe.objective))
    passes = batch * options.forwards_per_step() * (1 + BACKWARD_FACTOR)
    text = _text_gigaflop(recipe, options, batch, len(facts.class_names))
    return passes * forward_gigaflop(recipe.backbone, facts.image_size) + text


def split_images(recipe: Recipe, facts: DatasetFacts, split: str) -> int:
    """Images of `train` or `test` that a cell uses."""
    images = facts.num_images(split)
    if split == "test":
        return images
    if recipe.labels != "full":
        images = min(images, recipe.labels)
    return min(images, recipe.train_limit or images)


def explained_images(facts: DatasetFacts, eval_config: EvalConfig) -> int:
    """Images of the test split that are explained."""
    tested = facts.num_images("test")
    return min(eval_config.limit or tested, tested)


def method_forwards(
    backbone: str, facts: DatasetFacts, eval_config: EvalConfig, method: str
) -> float:
    """Images sent through the model for one method's map and its scores."""
    setting = Setting(BACKBONES[backbone].channels, facts.image_size)
    return replace(eval_config, methods=(method,)).forwards_per_map(setting)


@lru_cache(maxsize=64)
def forward_gigaflop(backbone: str, image_size: tuple[int, int]) -> float:
    """Operations of one image's forward, 10⁹, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode  # a second to import

    # Not on the meta device: random weights there load torch's compiler, five seconds.
    images = torch.zeros(1, 3, *image_size)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        _build(backbone)(images)
    return float(counter.get_total_flops()) / 1e9


@lru_cache(maxsize=64)
def parameter_count(backbone: str) -> int:
    """Parameters of a backbone without its last layer."""
    return sum(p.numel() for p in _build(backbone).parameters())


@lru_cache(maxsize=1)
def _build(backbone: str) -> torch.nn.Module:
    with seeded(0, "work"):
        return BACKBONES[backbone].build().eval()


def measure_speed(device: torch.device) -> float:
    """Operations per second, 10⁹, of a small network's forward here: median of three."""
    with seeded(0, "speed"):
        features = BACKBONES[PROBE].build().eval().to(device).to(memory_format=torch.channels_last)
    images = torch.zeros(16, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    rates = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            float(features(images).sum())  # a GPU has finished when the number is here
            seconds = time.perf_counter() - started
            rates.append(len(images) * forward_gigaflop(PROBE, (32, 32)) / seconds)
    return sorted(rates[1:])[1]


def measure_slowness() -> float:
    """How much longer the interpreter takes here than where `PYTHON_S` was measured: mean of ten.

    The mean and not the median, because what other programs take from this one counts.
    """
    started = time.perf_counter()
    for _ in range(10):
        sorted(str(number) for number in range(30_000))
    return (time.perf_counter() - started) / 10 / PYTHON_S


def _text_gigaflop(recipe: Recipe, options: ArmOptions, batch: int, num_classes: int) -> float:
    """What the text side of one update costs, in operations of a convolution."""
    prompts = options.prompts_per_step(min(batch, num_classes), num_classes)
    if prompts == 0:
        return 0.0
    entries = batch * BACKBONES[recipe.backbone].channels * TOKENS_PER_PROMPT
    tokens = prompts * TOKENS_PER_PROMPT
    return tokens * TEXT_GIGAFLOP_PER_TOKEN + entries * TRANSPORT_GIGAFLOP_PER_ENTRY


def _gallery_bytes(image_size: tuple[int, int], explained: int, methods: int) -> float:
    """What the images and maps take that are kept for looking at."""
    image_px, map_px = (
        math.prod(min(side, longest) for side in image_size)
        for longest in (IMAGE_SIDE_PX, MAP_SIDE_PX)
    )
    images = min(explained, GALLERY_IMAGES)
    return images * (IMAGE_BYTES * image_px + MAP_BYTES * map_px * methods)
