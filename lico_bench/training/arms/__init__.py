"""Arms by name: what each one minimises. A file here registers one or a few objectives."""

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
class Setting:
    """What an objective is built for.

    Attributes:
        prompt_names: text of each class, in index order.
        num_channels: C of the feature maps.
        map_size: h and w of the feature maps.
        text_encoder: name of the text encoder to use, if any is used.
        generator: for every draw the objective makes.
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
    """Width of what a text encoder reads and gives, and its number of parameters."""

    width: int
    parameters: int


@dataclass(frozen=True)
class ArmOptions:
    """Switches of an objective; an arm without any has these."""

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidInputError if `recipe` cannot be trained with these options."""

    def forwards_per_step(self) -> int:
        """Batches sent through the classifier in one update, for estimates of time."""
        return 1

    def prompts_per_step(self, batch_classes: int, num_classes: int) -> int:
        """Prompts that a text encoder reads in one update, for estimates of time."""
        return 0

    def own_parameters(self, num_classes: int, row_length: int, encoder: EncoderSize) -> int:
        """Parameters that the objective trains beside the classifier, for estimates of disk.

        Args:
            row_length: of the feature maps, C or D.
            encoder: of the text encoder.
        """
        return 0


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        options: frozen dataclass with every switch of the objective and this arm's value of it.
        build: from the setting and such options to the objective.
        uses_text: whether it needs a text encoder.
        text_encoder: the one it always takes; if empty, the recipe's.
        uses_card: whether it takes the options that a dataset's card sets for a profile. An arm
            that reproduces what another party computed does not.
    """

    title: str
    summary: str
    source: str
    build: Callable[[Setting, Any], Objective]
    options: ArmOptions = ArmOptions()
    uses_text: bool = False
    text_encoder: str = ""
    uses_card: bool = False

    def card_options(self, options: Mapping[str, Option]) -> dict[str, Option]:
        """Those of a card's `options` that this arm takes: what makes it an arm is not changed."""
        if not self.uses_card:
            return {}
        usual = type(self.options)()
        return {
            name: value
            for name, value in options.items()
            if hasattr(usual, name) and getattr(self.options, name) == getattr(usual, name)
        }

    def encoder_for(self, recipe: Recipe) -> str | None:
        """Name of the text encoder that a training uses; None if it uses none."""
        return (self.text_encoder or recipe.text_encoder) if self.uses_text else None


ARMS: Registry[Arm] = Registry("arm", __name__)


def resolve_options(arm: str, changes: Mapping[str, Option]) -> ArmOptions:
    """The options of `arm` with `changes` by name.

    Raises:
        UnknownNameError: for an unknown arm or option.
        InvalidInputError: for a value of another type than the option's.
    """
    options = ARMS[arm].options
    known = {field.name: getattr(options, field.name) for field in fields(options)}
    for name, value in changes.items():
        if name not in known:
            raise UnknownNameError.of(f"option of arm '{arm}'", name, known)
        if not _fits(value, known[name]):
            raise InvalidInputError(
                f"option '{name}' of arm '{arm}': expected {type(known[name]).__name__} "
                f"like {known[name]!r}, got {value!r}"
            )
    return replace(options, **{n: type(known[n])(v) for n, v in changes.items()})


def options_as_dict(options: ArmOptions) -> dict[str, Option]:
    """Every option by name, for the manifest and for a cell's identity."""
    return asdict(options)


def _fits(value: Option, default: Option) -> bool:
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(default))
