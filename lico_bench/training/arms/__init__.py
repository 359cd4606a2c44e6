"""Registry of arms. Each module of this package registers one or more training objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple

import torch

from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.records import Option, Recipe
from lico_bench.registry import Registry
from lico_bench.training.objective import Objective


@dataclass(frozen=True)
class ObjectiveInputs:
    """Inputs of an arm's `build`: classes, feature shape, text encoder, generator, device.

    Attributes:
        prompt_names: text of each class, in index order.
        num_channels: C of the feature maps.
        map_size: h and w of the feature maps.
        text_encoder: name of the text encoder; empty if the arm uses none.
        generator: for all random draws of the objective.
    """

    prompt_names: tuple[str, ...]
    num_channels: int
    map_size: tuple[int, int]
    text_encoder: str
    generator: torch.Generator
    device: torch.device

    @property
    def num_positions(self) -> int:
        """D = h * w."""
        return self.map_size[0] * self.map_size[1]


class EncoderSize(NamedTuple):
    """Width of a text encoder's token vectors, and its number of parameters."""

    width: int
    parameters: int


@dataclass(frozen=True)
class ArmOptions:
    """Base class of an objective's options; arms without options use it as it is."""

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidInputError if `recipe` cannot be trained with these options."""

    def forwards_per_step(self) -> int:
        """Return the number of forward passes of the classifier per update, for time estimates."""
        return 1

    def prompts_per_step(self, batch_classes: int, num_classes: int) -> int:
        """Return the number of prompts encoded per update, for time estimates."""
        return 0

    def num_parameters(self, num_classes: int, row_length: int, encoder: EncoderSize) -> int:
        """Return the number of trained parameters of the objective, for disk estimates.

        Args:
            row_length: of the feature maps, C or D.
            encoder: of the text encoder.
        """
        return 0


@dataclass(frozen=True)
class Arm:
    """A training objective with fixed default options.

    Attributes:
        options: frozen dataclass of all options of the objective, with this arm's defaults.
        build: from the inputs and options to the objective.
        uses_text: whether it needs a text encoder.
        text_encoder: name of a fixed text encoder; if empty, the recipe's is used.
        uses_card: whether it uses the options that a dataset card sets for a profile. False for an
            arm that reproduces other published code.
        as_published: name of the arm with the published options of this one, which stand beside
            it in the suite of a tuning; empty if there is none.
    """

    title: str
    summary: str
    source: str
    build: Callable[[ObjectiveInputs, Any], Objective]
    options: ArmOptions = ArmOptions()
    uses_text: bool = False
    text_encoder: str = ""
    uses_card: bool = False
    as_published: str = ""

    def card_options(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Return the card's `options` that apply: never those that define this arm."""
        if not self.uses_card:
            return {}
        defaults = type(self.options)()
        return {
            name: value
            for name, value in options.items()
            if hasattr(defaults, name) and getattr(self.options, name) == getattr(defaults, name)
        }

    def encoder_for(self, recipe: Recipe) -> str | None:
        """Return the name of the text encoder that a training uses; None if it uses none."""
        return (self.text_encoder or recipe.text_encoder) if self.uses_text else None


ARMS: Registry[Arm] = Registry("arm", __name__)


def resolve_options(arm: str, changes: Mapping[str, Option]) -> ArmOptions:
    """Return the options of `arm` with `changes` applied by name.

    Raises:
        UnknownNameError: for an unknown arm or option.
        InvalidInputError: for a value of another type than the option's.
    """
    options = ARMS[arm].options
    defaults = {field.name: getattr(options, field.name) for field in fields(options)}
    for name, value in changes.items():
        if name not in defaults:
            raise UnknownNameError.of(f"option of arm '{arm}'", name, defaults)
        if not _has_type_of(value, defaults[name]):
            raise InvalidInputError(
                f"option '{name}' of arm '{arm}': expected {type(defaults[name]).__name__} "
                f"like {defaults[name]!r}, got {value!r}"
            )
    return replace(options, **{n: type(defaults[n])(v) for n, v in changes.items()})


def options_as_dict(options: ArmOptions) -> dict[str, Option]:
    """Return every option by name, for the manifest and the identity of a cell."""
    return asdict(options)


def _has_type_of(value: Option, default: Option) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default))
