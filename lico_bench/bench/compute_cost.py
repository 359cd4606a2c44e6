"""Count the compute cost of a cell before it runs: updates, forwards, operations, bytes.

With batch size B, P passes per update (2 for an arm with augmented copies), E epochs of U updates,
N test images, n explained images, M methods, m metrics, c_M forwards for a method's map and its
scores, p parameters and h x w px:

    forwards of training = E U B P, with as many backwards; 3 times the operations of the forwards
    forwards of scoring  = N + n sum_M c_M; c_M = 1 + 2 * 32 for a CAM under insertion and deletion
    rows                 = 3 N + n (M m + 3)
    bytes read           = 3 h w (E U B + N + n), as decoded pixels
    weights              = 4 p
    checkpoints          = 2 (8 p + 8 q): the last two, each with weights and momentum of p network
                           parameters and q parameters of the objective

The counts are exact for the network; `bench.time_estimate` converts them to seconds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

from lico_bench.evaluation import EvalConfig
from lico_bench.evaluation.collector import IMAGE_SIDE_PX, MAP_SIDE_PX
from lico_bench.evaluation.scoring import GALLERY_IMAGES
from lico_bench.models import BACKBONES, evaluating
from lico_bench.records import DatasetFacts, Recipe
from lico_bench.runtime import seeded
from lico_bench.saliency import MapCostInputs
from lico_bench.store.run_records import InferenceCost
from lico_bench.training import ArmOptions, EncoderSize, resolve_options

PROBE = "wrn_10_2"  # backbone for `measure_speed`
PYTHON_S = 0.01  # one round of `measure_slowness` on two idle cores with AVX2
BACKWARD_FACTOR = 2  # operations of a backward pass, in forwards
# The next two were measured in time and converted to the operations of small convolutions.
TEXT_GIGAFLOP_PER_TOKEN = 0.03  # MiniLM, forward and backward to its input
TRANSPORT_GIGAFLOP_PER_ENTRY = 1.3e-5  # per entry of the cost matrix, solve and gradient
TOKENS_PER_PROMPT = 17  # 12 context tokens, special tokens, a short class name
ROW_BYTES = 6  # compressed Parquet, measured on a run of profile quick
CURVE_BYTES = 4.5  # per point
IMAGE_BYTES = 2.4  # per pixel of a gallery image, PNG
MAP_BYTES = 1.7  # per pixel of a gallery map, float16, compressed
MODEL_ROWS = 3  # classification scores per test image
END_ROWS = 3  # scores of the whole, blurred and emptied image, per explained image
WEIGHT_BYTES = 4  # per parameter
MOMENTUM_BYTES = 4  # per parameter, in a checkpoint
CHECKPOINTS = 2  # kept on disk: the last two
TEXT_ENCODERS = {  # sizes, to avoid loading the encoders
    "minilm": EncoderSize(384, 22_600_000), "clip_vit_b32": EncoderSize(512, 63_000_000),
}  # fmt: skip


@dataclass(frozen=True)
class ComputeCost:
    """Compute cost of one cell.

    Attributes:
        updates: optimiser steps.
        train_images: training images, repetitions included.
        train_forwards: image forwards in training; the number of backwards is the same.
        forwards: image forwards in scoring.
        train_gigaflop, score_gigaflop: 10⁹ operations of the network and the text encoder.
        rows: scores of single images.
        read_bytes: decoded pixels read, without the perturbed images of scoring.
        checkpoint_bytes: the last two checkpoints.
        disk_bytes: rows, curves, gallery images and weights.
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
        """Total of 10⁹ operations."""
        return self.train_gigaflop + self.score_gigaflop


def estimate_compute(recipe: Recipe, facts: DatasetFacts, eval_config: EvalConfig) -> ComputeCost:
    """Count the cost of training `recipe` and scoring it as `eval_config` defines."""
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
    rows = MODEL_ROWS * tested
    rows += explained * (methods * len(eval_config.resolved_metrics) + END_ROWS)
    parameters = parameter_count(recipe.backbone)
    encoder = TEXT_ENCODERS.get(recipe.text_encoder, TEXT_ENCODERS["minilm"])
    channels = BACKBONES[recipe.backbone].channels
    extra_parameters = options.num_parameters(len(facts.class_names), channels, encoder)
    images_read = updates * batch + tested + explained
    return ComputeCost(
        updates=updates,
        train_images=updates * batch,
        train_forwards=updates * batch * options.forwards_per_step(),
        forwards=forwards,
        train_gigaflop=updates * update_gigaflop(recipe, facts, batch),
        score_gigaflop=forwards * forward_gigaflop(recipe.backbone, facts.image_size),
        rows=rows,
        read_bytes=3 * math.prod(facts.image_size) * images_read,
        checkpoint_bytes=(
            CHECKPOINTS * (WEIGHT_BYTES + MOMENTUM_BYTES) * (parameters + extra_parameters)
        ),
        disk_bytes=int(
            ROW_BYTES * rows
            + CURVE_BYTES * 2 * points * explained * methods
            + _gallery_bytes(facts.image_size, explained, methods)
            + WEIGHT_BYTES * parameters
        ),
    )


def update_gigaflop(recipe: Recipe, facts: DatasetFacts, batch: int) -> float:
    """Return 10⁹ operations of network and text encoder for one update on `batch` images."""
    options = resolve_options(recipe.arm, dict(recipe.objective))
    passes = batch * options.forwards_per_step() * (1 + BACKWARD_FACTOR)
    text = _text_gigaflop(recipe, options, batch, len(facts.class_names))
    return passes * forward_gigaflop(recipe.backbone, facts.image_size) + text


def split_images(recipe: Recipe, facts: DatasetFacts, split: str) -> int:
    """Return the number of images of split `train` or `test` that a cell uses."""
    images = facts.num_images(split)
    if split == "test":
        return images
    if recipe.labels != "full":
        images = min(images, recipe.labels)
    return min(images, recipe.train_limit or images)


def explained_images(facts: DatasetFacts, eval_config: EvalConfig) -> int:
    """Return the number of test images that are explained."""
    tested = facts.num_images("test")
    return min(eval_config.limit or tested, tested)


def method_forwards(
    backbone: str, facts: DatasetFacts, eval_config: EvalConfig, method: str
) -> float:
    """Return the image forwards for one map of `method` and its scores."""
    cost_inputs = MapCostInputs(BACKBONES[backbone].channels, facts.image_size)
    return replace(eval_config, methods=(method,)).forwards_per_map(cost_inputs)


@lru_cache(maxsize=64)
def forward_gigaflop(backbone: str, image_size: tuple[int, int]) -> float:
    """Return 10⁹ operations of one image's forward, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode  # the import takes a second

    # Not on the meta device: random weights there load torch's compiler, which takes 5 s.
    images = torch.zeros(1, 3, *image_size)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        _build(backbone)(images)
    return float(counter.get_total_flops()) / 1e9


@lru_cache(maxsize=64)
def parameter_count(backbone: str) -> int:
    """Return the number of parameters of a backbone without its classification layer."""
    return sum(p.numel() for p in _build(backbone).parameters())


@lru_cache(maxsize=1)
def _build(backbone: str) -> torch.nn.Module:
    with seeded(0, "work"):
        return BACKBONES[backbone].build().eval()


def measure_speed(device: torch.device) -> float:
    """Measure the speed of a small network's forward in 10⁹ operations per second.

    The result is the median of three measurements.
    """
    with seeded(0, "speed"):
        features = BACKBONES[PROBE].build().eval().to(device).to(memory_format=torch.channels_last)
    images = torch.zeros(16, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
    rates = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            float(features(images).sum())  # float() waits for the GPU
            seconds = time.perf_counter() - started
            rates.append(len(images) * forward_gigaflop(PROBE, (32, 32)) / seconds)
    return sorted(rates[1:])[1]


def measure_slowness() -> float:
    """Measure the interpreter's time as a multiple of `PYTHON_S`, as the mean of ten rounds.

    The mean, unlike the median, includes delays by other programs.
    """
    started = time.perf_counter()
    for _ in range(10):
        sorted(str(number) for number in range(30_000))
    return (time.perf_counter() - started) / 10 / PYTHON_S


def _text_gigaflop(recipe: Recipe, options: ArmOptions, batch: int, num_classes: int) -> float:
    """Return the cost of the text branch per update, in 10⁹ operations of a convolution."""
    prompts = options.prompts_per_step(min(batch, num_classes), num_classes)
    if prompts == 0:
        return 0.0
    entries = batch * BACKBONES[recipe.backbone].channels * TOKENS_PER_PROMPT
    tokens = prompts * TOKENS_PER_PROMPT
    return tokens * TEXT_GIGAFLOP_PER_TOKEN + entries * TRANSPORT_GIGAFLOP_PER_ENTRY


def _gallery_bytes(image_size: tuple[int, int], explained: int, methods: int) -> float:
    """Return the bytes of the images and maps stored for the gallery."""
    image_px, map_px = (
        math.prod(min(side, longest) for side in image_size)
        for longest in (IMAGE_SIDE_PX, MAP_SIDE_PX)
    )
    images = min(explained, GALLERY_IMAGES)
    return images * (IMAGE_BYTES * image_px + MAP_BYTES * map_px * methods)


def inference_cost(classifier: nn.Module, image_size: tuple[int, int]) -> InferenceCost:
    """Return the parameters and the GFLOP of one image's forward, counted by torch.

    Both are exact and the same on every machine. Each multiplication and each addition of
    convolutions and matrix products counts one; other operations are not counted.

    Args:
        classifier: maps images (N, 3, H, W) in [0, 1] to logits.
        image_size: H and W in pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode  # the import takes a second

    device = next(classifier.parameters()).device
    images = torch.zeros(1, 3, *image_size, device=device)
    with evaluating(classifier), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        classifier(images)
    return InferenceCost(
        parameters=sum(p.numel() for p in classifier.parameters()),
        gigaflop=float(counter.get_total_flops()) / 1e9,
    )
