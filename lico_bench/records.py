"""Dataclasses that travel between rooms. They hold and check values; none computes a score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lico_bench.checks import check_choice, check_count, check_not_negative, check_positive
from lico_bench.errors import InvalidInputError, UnknownNameError

if TYPE_CHECKING:
    from torch import Tensor

Option = float | int | str | bool
Source = Literal["real", "standin"]

# One row is one score of one image; `method` and `protocol` are empty for scores of the model.
ROW_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "target",
    "correct", "method", "metric", "protocol", "value", "flag",
)  # fmt: skip
CURVE_COLUMNS = (
    "pair", "cell", "dataset", "source", "backbone", "arm", "seed", "labels", "image_id", "target",
    "correct", "method", "protocol", "curve", "fractions", "values",
)  # fmt: skip

SCHEDULES = ("one_cycle", "cosine", "cosine_7_16", "constant")
AUGMENTATIONS = ("none", "flip", "crop", "crop_flip", "resized_crop_flip")
PRECISIONS = ("float32", "bfloat16")


class Output(NamedTuple):
    """What a classifier says of a batch.

    `logits` are (N, K); `features` are the last convolutional maps F, a row per channel, (N, C, D).
    """

    logits: Tensor
    features: Tensor


@dataclass(frozen=True)
class Recipe:
    """Everything that decides one training, readable top to bottom; its hash is its identity.

    Two recipes that differ only in `arm`, `text_encoder` or `objective` form a pair: they share
    data, order, augmentation, initial weights and number of updates.
    """

    dataset: str
    backbone: str
    arm: str
    seed: int = 0
    source: Literal["auto", "real", "standin"] = "auto"
    labels: int | Literal["full"] = "full"
    train_limit: int | None = None  # training images, classes in turn; for quick and smoke
    skip_broken: bool = False  # leave unreadable images out and record them, in place of an error
    image_size: int | None = None  # px; None takes the card's
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.3
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: str = "one_cycle"
    augmentation: str = "crop_flip"
    crop_padding_px: int = 4
    precision: str = "float32"
    channels_last: bool = True
    compile: bool = False  # torch.compile of the classifier
    gradient_clip: float = 0.0  # largest Euclidean norm of the whole gradient; 0 leaves it alone
    ema_decay: float = 0.0  # of the averaged weights that are the result; 0 takes the last ones
    text_encoder: str = "minilm"
    objective: tuple[tuple[str, Option], ...] = ()  # options of the arm, changed by hand

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
        """Twelve hex digits shared by the cells that may be compared."""
        same = replace(self, arm="", text_encoder="", objective=())
        return content_key(asdict(same))

    def with_options(self, options: Mapping[str, Any]) -> Recipe:
        """This recipe with fields replaced by name; the values are converted to the fields' types.

        Raises:
            UnknownNameError: for a name that is no field.
            InvalidInputError: for a value that does not fit the field.
        """
        known = {field.name: field for field in fields(self)}
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if name not in known:
                raise UnknownNameError.of("recipe option", name, known)
            changes[name] = _as_field(name, value, str(known[name].type))
        return replace(self, **changes)


Need = Literal["maps", "curves", "regions", "instances", "explainer", "network"]
Category = Literal[
    "model", "perturbation", "localisation", "complexity", "robustness", "randomisation"
]
Cost = Literal["map", "forwards", "explains"]


@dataclass(frozen=True)
class MetricSpec:
    """What a number means: without these facts a metric's value is not printed.

    Attributes:
        higher_is_better: None for a descriptive metric, which has no direction of merit.
        bounds: smallest and largest possible value; None where there is no such bound.
        needs: what it looks at: the maps, the perturbation curves, where the object is
            (`regions`), where each of several objects is (`instances`), new maps of changed
            pictures (`explainer`), the explained network itself (`network`).
        protocol: id of its own rules; None takes the run's perturbation protocol.
        cost: `map` looks at stored maps, `forwards` sends changed pictures through the model,
            `explains` makes maps anew.
        pitfalls: what a reader must know before believing it.
    """

    name: str
    title: str
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
    """The rules of insertion and deletion curves, whole; its hash travels with every row.

    Attributes:
        steps: K, number of equal shares in which the pixels change.
        fill_rgb: colour that replaces deleted pixels, in [0, 1].
        blur_sigma_frac: standard deviation of the Gaussian that makes the insertion start, as a
            share of the shorter side.
        blur_radius_sigmas: where the Gaussian is cut off, in standard deviations.
        explained_class: which class is explained and scored.
        score: what is read at that class.
        ties: how equal saliency values are ordered.
    """

    name: str
    steps: int
    fill_rgb: tuple[float, float, float]
    blur_sigma_frac: float
    blur_radius_sigmas: float
    explained_class: Literal["label", "predicted"]
    score: Literal["probability"]
    ties: Literal["stable_descending"]
    source: str

    @property
    def id(self) -> str:
        """Name and hash of the rules, `lico_bench_1@1a2b3c4d`."""
        facts = {k: v for k, v in asdict(self).items() if k != "source"}
        return rules_id(self.name, facts)


def rules_id(name: str, rules: Mapping[str, Any]) -> str:
    """Name and hash of a set of rules, `pointing_game_1@1a2b3c4d`: a changed rule is another id."""
    return f"{name}@{content_key(dict(rules))[:8]}"


def content_key(value: Any) -> str:
    """Twelve hex digits of the SHA-256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _as_field(name: str, value: Any, annotation: str) -> Any:
    """`value` as the type that a recipe field declares; text from the command line is parsed."""
    try:
        if name == "objective":
            return tuple(sorted((str(k), v) for k, v in dict(value).items()))
        if name == "labels":
            return "full" if value == "full" else _whole(value)
        if annotation == "bool":
            return _truth(value)
        if annotation.startswith("int"):
            return None if value in (None, "none") else _whole(value)
        if annotation == "float":
            return float(value)
        return str(value)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"recipe option '{name}': expected {annotation}, got {value!r}"
        ) from error


def _whole(value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "1", "yes"):
        return True
    if str(value).lower() in ("false", "0", "no"):
        return False
    raise ValueError(value)
