"""Dataclasses shared between packages; they hold and validate values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from lico_bench.checks import (
    Count,
    Name,
    Rule,
    Title,
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
)
from lico_bench.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor

Option = float | int | str | bool
Source = Literal["real", "standin"]

# A row is one score of one image; `method` and `protocol` are empty for scores of the model.
ROW_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "target",
    "correct", "method", "metric", "protocol", "value", "flag",
)  # fmt: skip
CURVE_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "target",
    "correct", "method", "protocol", "curve", "fractions", "values",
)  # fmt: skip

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB mean of the training images, in [0, 1]

SCHEDULES = ("one_cycle", "cosine", "cosine_7_16", "constant")
AUGMENTATIONS = ("none", "flip", "crop", "crop_flip", "resized_crop_flip")
AUTO = "auto"  # resolved by `runtime.native_precision` before a recipe is hashed
PRECISIONS = (AUTO, "float32", "bfloat16")


LATER_FIELDS = ("warmup_frac", "holdout", "of_pair")  # of `Recipe`, added after rows were published

# Fields of a recipe that an arm may set for itself: data, budget and initial weights stay shared.
ARM_FIELDS = (
    "learning_rate", "momentum", "nesterov", "weight_decay", "schedule", "warmup_frac",
    "gradient_clip", "ema_decay",
)  # fmt: skip


class Output(NamedTuple):
    """Output of a classifier for a batch.

    `logits` are (N, K); `features` are the last convolutional maps F, one row per channel,
    (N, C, D).
    """

    logits: Tensor
    features: Tensor


@dataclass(frozen=True)
class Recipe:
    """All settings of one training; the hash of a recipe identifies the training.

    Two recipes that differ only in `arm`, `text_encoder`, `objective` or the fields of `of_pair`
    form a pair: they share data, order, augmentation, initial weights and number of updates.

    Attributes:
        holdout: share of each training class that is not trained on and replaces the test images;
            0 for the test split.
        of_pair: the pair's value of each of `ARM_FIELDS` that this arm sets for itself.
    """

    dataset: str
    backbone: str
    arm: str
    seed: int = 0
    source: Literal["auto", "real", "standin"] = "auto"
    labels: int | Literal["full"] = "full"
    train_limit: int | None = None  # number of training images, classes in turn
    skip_broken: bool = False  # skip and record unreadable images instead of raising an error
    image_size: int | None = None  # px; None uses the size of the dataset card
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.3
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "one_cycle"
    warmup_frac: float = 0.3  # share of a one_cycle training until the maximum rate is reached
    augmentation: str = "crop_flip"
    crop_padding_px: int = 4
    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False  # torch.compile of the classifier
    gradient_clip: float = 0.0  # maximum Euclidean norm of the gradient; 0 for no clipping
    ema_decay: float = 0.0  # of the weights' moving average; 0 for no averaging
    text_encoder: str = "minilm"
    objective: tuple[tuple[str, Option], ...] = ()  # changed options of the arm
    holdout: float = 0.0
    of_pair: tuple[tuple[str, Option], ...] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            check_count(name, getattr(self, name))
        if self.labels != "full":
            check_count("labels", self.labels)
        for name in ("train_limit", "image_size"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_count("crop_padding_px", self.crop_padding_px, at_least=0)
        check_count("seed", self.seed, at_least=0)
        check_positive("learning_rate", self.learning_rate)
        for name in ("momentum", "weight_decay", "gradient_clip"):
            check_not_negative(name, getattr(self, name))
        if not 0 <= self.warmup_frac < 1:
            raise InvalidInputError(
                f"warmup_frac: expected a number in [0, 1), got {self.warmup_frac}"
            )
        if not 0 <= self.holdout < 1:
            raise InvalidInputError(
                f"holdout: expected a share in [0, 1), 0 for the test split, got {self.holdout}"
            )
        if not 0 <= self.ema_decay < 1:
            raise InvalidInputError(
                f"ema_decay: expected a number in [0, 1), 0 for no averaging, got {self.ema_decay}"
            )
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("source", self.source, ("auto", "real", "standin"))

    @property
    def pair_key(self) -> str:
        """Key shared by the cells of a pair, twelve hex digits."""
        shared = self.with_options(dict(self.of_pair))
        shared = replace(shared, arm="", text_encoder="", objective=(), of_pair=())
        return content_key(shared.facts())

    def facts(self) -> dict[str, object]:
        """Return the fields by name, without `LATER_FIELDS` that have their default value.

        A recipe stored with rows thus keeps its hash when a field is added.
        """
        later = {f.name: f.default for f in fields(self) if f.name in LATER_FIELDS}
        values = asdict(self)
        return {k: v for k, v in values.items() if k not in later or v != later[k]}

    def with_options(self, options: Mapping[str, Any]) -> Recipe:
        """Return a copy with fields replaced by name; values are converted to the fields' types.

        Raises:
            UnknownNameError: for a name that is not a field.
            InvalidInputError: for a value that cannot be converted.
        """
        known = {field.name: field for field in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if name not in known:
                raise UnknownNameError.of("recipe option", name, known)
            changes[name] = _convert_field(name, value, str(known[name].type))
        return replace(self, **changes)

    def for_arm(self, changes: Mapping[str, Any], objective: Mapping[str, Option]) -> Recipe:
        """Return a copy with settings that only this arm has; it stays in its pair.

        Args:
            changes: values of `ARM_FIELDS` by name.
            objective: options of the objective by name.

        Raises:
            InvalidInputError: for a field that the arms of a pair must share.
        """
        for name in changes:
            if name not in ARM_FIELDS:
                raise InvalidInputError(
                    f"recipe.{name}: all arms of a pair share it; an arm may set for itself "
                    f"{', '.join(ARM_FIELDS)}"
                )
        of_pair = self.with_options(dict(self.of_pair))
        recipe = self.with_options(changes)
        own = {name: getattr(of_pair, name) for name in {**dict(self.of_pair), **changes}}
        shared = {name: value for name, value in own.items() if value != getattr(recipe, name)}
        return recipe.with_options(
            {"of_pair": shared, "objective": {**dict(recipe.objective), **objective}}
        )


@dataclass(frozen=True)
class DatasetFacts:
    """Metadata of a dataset for plans, manifests and reports.

    Attributes:
        found: per split, number of images in use and number according to the publisher.
        class_names: in index order.
        prompt_names: class names for the text encoder's prompts, in index order.
        notes: sentences that a report must print.
        fingerprint: hex digest that changes with the images.
        chance: accuracy of the best constant guess on the test images, the share of their most
            frequent label; None if unknown.
    """

    name: Name
    title: Title
    source: Annotated[Source, Rule("real or standin", lambda value: value in ("real", "standin"))]
    found: Mapping[Name, tuple[Count, Count]]
    class_names: tuple[Title, ...]
    prompt_names: tuple[Title, ...]
    image_size: tuple[Count, Count]
    has_regions: bool
    notes: tuple[str, ...]
    fingerprint: str
    chance: Annotated[float, Rule("a share above 0", lambda value: 0 < value <= 1)] | None = None

    def num_images(self, split: str) -> int:
        """Return the number of images in use of a split."""
        return self.found[split][0]

    def summary(self) -> str:
        """Return one line that names the images in use."""
        train, test = self.found["train"], self.found["test"]
        if self.source == "standin":
            return (
                f"{self.name}: STAND-IN, {train[0]:,} training and {test[0]:,} test scenes drawn "
                "here, not the dataset's images"
            )
        return (
            f"{self.name}: real images, {train[0]:,} of {train[1]:,} training, "
            f"{test[0]:,} of {test[1]:,} test"
        )


def resolve_precision(recipe: Recipe, precision: str) -> Recipe:
    """Replace `auto` in `recipe.precision` by `precision`."""
    return replace(recipe, precision=precision) if recipe.precision == AUTO else recipe


Need = Literal["maps", "curves", "regions", "instances", "explainer", "network"]
Category = Literal[
    "model", "perturbation", "localisation", "complexity", "robustness", "randomisation"
]
Cost = Literal["map", "forwards", "explains"]


@dataclass(frozen=True)
class MetricSpec:
    """Description of a metric, shown with every value.

    Attributes:
        higher_is_better: None for a descriptive metric, which has no direction of merit.
        bounds: smallest and largest possible value; None for unbounded.
        needs: inputs: saliency maps (`maps`), perturbation curves (`curves`), the object's area
            (`regions`), the areas of several objects (`instances`), maps of modified images
            (`explainer`), the explained network (`network`).
        protocol: id of the metric's rules; None for the perturbation protocol of the run.
        cost: `map` uses existing maps, `forwards` runs the model on modified images, `explains`
            computes new maps.
        pitfalls: limits of the metric that a reader must know.
    """

    name: Name
    title: Title
    higher_is_better: bool | None
    bounds: tuple[float | None, float | None]
    unit: str
    source: str
    needs: tuple[Need, ...] = ("maps",)
    protocol: str | None = None
    category: Category = "perturbation"
    cost: Cost = "map"
    pitfalls: str = ""


@dataclass(frozen=True)
class Protocol:
    """All rules of insertion and deletion curves; their hash is stored with every row.

    Attributes:
        steps: K, number of equal steps in which the pixels change; None if `step_px` is given.
        fill_rgb: colour that replaces deleted pixels, in [0, 1]; `model_mean` is the mean of the
            model's normalisation, which it maps to zero.
        blur_sigma_frac: standard deviation of the Gaussian blur of the insertion baseline, as a
            share of the shorter side; None if `blur_sigma_px` is given.
        blur_radius_sigmas: radius of that Gaussian in standard deviations.
        explained_class: the class that the map explains.
        score: quantity of the scored class.
        ties: order of equal saliency values: pixel order, or the reverse (`stable_reversed`, an
            ascending stable sort read backwards).
        step_px: pixels that change per step.
        blur_sigma_px, blur_kernel_px: standard deviation and side of the kernel.
        blur_kernel: `near_box` is an impulse filtered by a Gaussian whose tails are reflected into
            the kernel, as in the published RISE script.
        blur_border: padding of the image: reflected, or the fill colour.
        scored_class: the explained class, or the scoring network's prediction for the unmodified
            image.
        endpoints: `both`; `whole_steps` drops an incomplete last step.
        area: trapezoid over the true shares; over points taken as evenly spaced (`even`); or with
            a spacing of one over the number of points (`per_point`), which falls short of 1.
        scorer: the scoring network: `own` for that of each arm, or the name of one arm for all.
    """

    name: str
    steps: int | None
    fill_rgb: tuple[float, float, float] | Literal["model_mean"]
    blur_sigma_frac: float | None
    blur_radius_sigmas: float | None
    explained_class: Literal["label", "predicted"]
    score: Literal["probability"]
    ties: Literal["stable_descending", "stable_reversed"]
    source: str
    step_px: int | None = None
    blur_sigma_px: float | None = None
    blur_kernel_px: int | None = None
    blur_kernel: Literal["gaussian", "near_box"] = "gaussian"
    blur_border: Literal["reflect", "fill"] = "reflect"
    scored_class: Literal["explained", "predicted"] = "explained"
    endpoints: Literal["both", "whole_steps"] = "both"
    area: Literal["trapezoid", "even", "per_point"] = "trapezoid"
    scorer: str = "own"

    @property
    def rules(self) -> dict[str, object]:
        """All rules, without fields that have a default and that default value.

        An id stored with rows thus stays valid when a field is added.
        """
        later = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        values = {k: v for k, v in asdict(self).items() if k != "source"}
        return {k: v for k, v in values.items() if k not in later or v != later[k]}

    @property
    def id(self) -> str:
        """Name and hash of the rules, such as `lico_bench_1@1a2b3c4d`."""
        return rules_id(self.name, self.rules)

    def changed_px(self, num_pixels: int) -> list[int]:
        """Return the number of changed pixels at each point of a curve, starting at 0.

        Raises:
            InvalidInputError: for an image with fewer pixels than steps.
        """
        if self.step_px is None:
            steps = self.steps or 1
            if steps > num_pixels:
                raise InvalidInputError(
                    f"protocol {self.name}: {steps} steps for {num_pixels} pixels; use larger "
                    "images or another protocol"
                )
            return [round(j * num_pixels / steps) for j in range(steps + 1)]
        if self.step_px > num_pixels:
            raise InvalidInputError(
                f"protocol {self.name}: steps of {self.step_px} pixels for {num_pixels} pixels; "
                "use larger images or another protocol"
            )
        points = list(range(0, num_pixels + 1, self.step_px))
        if self.endpoints == "both" and points[-1] < num_pixels:
            points.append(num_pixels)
        return points


def rules_id(name: str, rules: Mapping[str, Any]) -> str:
    """Return name and hash of a set of rules, such as `pointing_game_1@1a2b3c4d`."""
    return f"{name}@{content_key(dict(rules))[:8]}"


def content_key(value: Any) -> str:
    """Return twelve hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _convert_field(name: str, value: Any, annotation: str) -> Any:
    """Convert `value`, possibly text from the command line, to the type of a recipe field."""
    try:
        if name in ("objective", "of_pair"):
            return tuple(sorted((str(k), v) for k, v in dict(value).items()))
        if name == "labels":
            return "full" if value == "full" else _to_int(value)
        if annotation == "bool":
            return _to_bool(value)
        if annotation.startswith("int"):
            return None if value in (None, "none") else _to_int(value)
        if annotation == "float":
            return float(value)
        return str(value)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"recipe option '{name}': expected {annotation}, got {value!r}"
        ) from error


def _to_int(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "1", "yes"):
        return True
    if str(value).lower() in ("false", "0", "no"):
        return False
    raise ValueError(value)
