"""Options of the LICO objective; every point on which published computations differ is one.

Source: Lei et al., NeurIPS 2023, and the published code listed in docs/reference/arms.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lico_bench.checks import check_choice, check_count, check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.records import Recipe
from lico_bench.training.arms import ArmOptions, EncoderSize

CHOICES = {
    "weights_schedule": ("constant", "linear", "cosine"),
    "class_names": ("card", "sorted", "shuffled", "authors"),
    "context": ("shared", "per_class"),
    "copies": ("one", "rolled", "alike"),
    "name_position": ("end", "middle", "front"),
    "mm_image": ("flat", "pooled"),
    "mm_text": ("tokens", "whole"),
    "mm_index": ("once", "twice"),
    "mm_sign": ("near", "far"),
    "mm_scale": ("divide", "exp"),
    "mm_direction": ("text_image", "image_text"),
    "ot_points": ("prompt_tokens", "rolled_contexts", "all_classes", "batch_prompts"),
    "ot_gradient": ("cost", "full", "none"),
    "ot_cost": ("squared", "cosine"),
    "ot_align": ("channels", "positions"),
}


@dataclass(frozen=True)
class LicoOptions(ArmOptions):
    """Options of the LICO objective; the defaults follow the paper.

    Attributes:
        alpha: weight of manifold matching; 0 drops the term.
        beta: weight of transport; 0 drops the term.
        weights_warmup_frac: share of the updates over which α and β grow linearly from 0.
        weights_schedule: of α and β after the warm-up: constant, or down to 0 at the end of the
            training, linearly or as half a cosine.
        class_names: text of the prompts, see `names_for_prompts`.
        context: learnable tokens `shared` by all classes, or `per_class`.
        copies: `one`; `rolled`: copy i is the same context rolled by i positions; `alike`: as many
            contexts as tokens, all initialised with the same draw rolled by one position.
        num_context: number of context tokens; with 0 a prompt is the class name alone.
        context_std: standard deviation of their normal initialisation.
        name_position: of the class name among the context tokens: end, middle, front.
        shuffle_context: draw a new order of the context tokens at each step.
        text_every: number of updates between encodings of the prompts; the updates in between use
            the cached vectors as constants. The MLP is trained at each update.
        frozen_encoder: False trains the text encoder as well.
        hidden: width of the MLP; not given in the paper, 512 in all published code.
        dropout: probability in the MLP.
        temperature: initial τ, log(1 / 0.07) in all published code.
        learn_temperature: train τ.
        separate_temperatures: use one τ for images and one for texts.
        temperature_min, temperature_max: bounds of τ.
        mm_image: F_i flattened (`flat`), or its mean over positions (`pooled`).
        mm_text: G_i flattened (`tokens`), or the encoder's vector of the prompt before the MLP
            (`whole`).
        mm_index: `twice` uses the text of batch element number label_i for sample i.
        mm_normalise, mm_sign, mm_scale, mm_direction, mm_floor, mm_least_distance: see
            `losses.manifold_matching`; sign "near" is -1, "far" is +1.
        mm_detach_text: manifold matching has no gradient on the text.
        ot_points: targets of the channels: the tokens of the sample's prompt, its class with each
            copy of the context, the prompts of all classes, or the prompts of the complete batch.
        ot_gradient: see `losses.transport_loss`.
        ot_padding: True gives the padding after a shorter name the mass of a token, False none.
        ot_normalise, ot_cost: see `losses.transport_cost`.
        ot_align: rows of F_i are its channels, or its positions.
        epsilon, max_iterations, tolerance: of the transport solver, see `losses.sinkhorn`.
    """

    alpha: float = 10.0
    beta: float = 1.0
    weights_warmup_frac: float = 0.0
    weights_schedule: str = "constant"
    class_names: str = "card"
    context: str = "shared"
    copies: str = "one"
    num_context: int = 12
    context_std: float = 0.02
    name_position: str = "end"
    shuffle_context: bool = True
    text_every: int = 1
    frozen_encoder: bool = True
    hidden: int = 512
    dropout: float = 0.5
    temperature: float = math.log(1 / 0.07)
    learn_temperature: bool = True
    separate_temperatures: bool = False
    temperature_min: float = 0.01  # a learnable divisor must not reach 0
    temperature_max: float = 1e4
    mm_image: str = "flat"
    mm_text: str = "tokens"
    mm_index: str = "once"
    mm_normalise: bool = True
    mm_sign: str = "near"
    mm_scale: str = "divide"
    mm_direction: str = "text_image"
    mm_floor: float = 0.0
    mm_least_distance: float = 0.0
    mm_detach_text: bool = False
    ot_points: str = "prompt_tokens"
    ot_gradient: str = "cost"
    ot_padding: bool = False
    ot_normalise: bool = True
    ot_cost: str = "squared"
    ot_align: str = "channels"
    epsilon: float = 0.1
    max_iterations: int = 100
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("alpha", "beta", "mm_floor", "mm_least_distance", "temperature_min"):
            check_not_negative(name, getattr(self, name))
        for name in ("temperature", "context_std", "epsilon", "tolerance", "temperature_max"):
            check_positive(name, getattr(self, name))
        for name in ("hidden", "max_iterations", "text_every"):
            check_count(name, getattr(self, name))
        check_count("num_context", self.num_context, at_least=0)
        if not 0 <= self.weights_warmup_frac < 1:
            raise InvalidInputError(
                "weights_warmup_frac: expected a share of the training in [0, 1), got "
                f"{self.weights_warmup_frac}"
            )
        if not 0 <= self.dropout < 1:
            raise InvalidInputError(f"dropout: expected a number in [0, 1), got {self.dropout}")
        if self.mm_scale == "divide":
            check_positive("temperature_min", self.temperature_min)
        if not self.temperature_min <= self.temperature <= self.temperature_max:
            raise InvalidInputError(
                f"temperature: expected a number in [{self.temperature_min:g}, "
                f"{self.temperature_max:g}] (temperature_min, temperature_max), "
                f"got {self.temperature:g}"
            )
        if self.ot_points == "rolled_contexts" and self.copies == "one":
            raise InvalidInputError(
                "ot_points 'rolled_contexts' needs several copies of the context; "
                "set copies to 'rolled' or 'alike'"
            )
        if self.ot_points == "rolled_contexts" and self.num_context == 0:
            raise InvalidInputError(
                "ot_points 'rolled_contexts' needs context tokens; set num_context above 0"
            )
        if self.text_every > 1 and (self.copies != "one" or not self.frozen_encoder):
            raise InvalidInputError(
                f"text_every {self.text_every}: prompts are cached only for one copy of the "
                "context and a frozen encoder; set copies to 'one' and frozen_encoder to true, or "
                "text_every to 1"
            )

    def check(self, recipe: Recipe) -> None:
        """Raise InvalidInputError if the recipe cannot be trained with these options."""
        if self.alpha > 0 and recipe.batch_size < 2:
            raise InvalidInputError(
                f"arm {recipe.arm}: manifold matching compares the samples of a batch, got "
                f"batch_size {recipe.batch_size}; set batch_size to 2 or more, or alpha to 0"
            )

    def prompts_per_step(self, batch_classes: int, num_classes: int) -> int:
        """Return the number of prompts that the text encoder encodes per update."""
        if self.text_every > 1:
            return math.ceil(num_classes / self.text_every)
        if self.beta > 0 and self.ot_points == "all_classes":
            return num_classes
        is_rolled = self.beta > 0 and self.ot_points == "rolled_contexts"
        return batch_classes * (self.num_context if is_rolled else 1)

    def num_parameters(self, num_classes: int, row_length: int, encoder: EncoderSize) -> int:
        """Return the size of context, MLP and temperature, and of a trained encoder."""
        num_contexts = num_classes if self.context == "per_class" else 1
        num_contexts *= max(1, self.num_context) if self.copies == "alike" else 1
        mlp = self.hidden * (encoder.width + 1) + row_length * (self.hidden + 1)
        trained = 0 if self.frozen_encoder else encoder.parameters
        return num_contexts * self.num_context * encoder.width + mlp + 1 + trained
