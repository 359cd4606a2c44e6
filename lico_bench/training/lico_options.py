"""The switches of LICO's objective: every point on which its published computations differ.

Source: Lei et al., NeurIPS 2023, and the code of the parties that BENCHMARK.md lists.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lico_bench.checks import check_choice, check_count, check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.records import Recipe
from lico_bench.training.arms import ArmOptions, EncoderSize
from lico_bench.training.prompts import CLASS_NAMES, CONTEXTS, COPIES

CHOICES = {
    "class_names": CLASS_NAMES,
    "context": CONTEXTS,
    "copies": COPIES,
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
    """Every switch of the objective; the defaults are the paper's reading.

    Attributes:
        alpha: weight of manifold matching; 0 leaves the term out.
        beta: weight of transport; 0 leaves the term out.
        class_names: text of the prompts, see `names_for_prompts`.
        context, copies, num_context, context_std: of the learnable tokens, see `Prompts`.
        name_position: of the class name among the context tokens: end, middle, front.
        shuffle_context: draw a new order of the context tokens at each step.
        text_every: the prompts are read once in so many updates; the others use what was read
            last, as constants. The MLP is trained at each.
        frozen_encoder: False trains the text encoder as well.
        hidden: width of the MLP; the paper does not give it, all public code has 512.
        dropout: in the MLP.
        temperature: τ at the start, log(1 / 0.07) as in all public code.
        learn_temperature, separate_temperatures: whether τ is trained, and one per side.
        temperature_min, temperature_max: between which it is held.
        mm_image: F_i flattened, or its mean over positions (`pooled`).
        mm_text: G_i flattened (`tokens`), or the encoder's vector of the prompt before the MLP
            (`whole`).
        mm_index: `twice` takes the text of batch element number label_i for sample i.
        mm_normalise, mm_sign, mm_scale, mm_direction, mm_floor, mm_least_distance: see
            `losses.manifold_matching`; sign "near" is -1, "far" is +1.
        mm_detach_text: no gradient to the text through manifold matching.
        ot_points: what the channels are moved to: the sample's prompt tokens, its class under each
            copy of the context, the prompts of all classes, or the prompts of the whole batch.
        ot_gradient: see `losses.transport_loss`.
        ot_padding: positions after a shorter name carry mass too.
        ot_normalise, ot_cost: see `losses.transport_cost`.
        ot_align: rows of F_i are its channels, or its positions.
        epsilon, max_iterations, tolerance: of the transport solver.
    """

    alpha: float = 10.0
    beta: float = 1.0
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
    temperature_min: float = 0.01  # a learnable divisor must not reach zero
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
                f"text_every {self.text_every}: prompts are held for one copy of the context and a "
                "frozen encoder; set copies to 'one' and frozen_encoder to true, or text_every to 1"
            )

    def check(self, recipe: Recipe) -> None:
        """Raise if the recipe cannot be trained with these options."""
        if self.alpha > 0 and recipe.batch_size < 2:
            raise InvalidInputError(
                f"arm {recipe.arm}: batch_size {recipe.batch_size} leaves nothing to compare, "
                "manifold matching needs the geometry of a batch; set batch_size to 2 or more, "
                "or alpha to 0"
            )

    def prompts_per_step(self, batch_classes: int, num_classes: int) -> int:
        """Prompts that the text encoder reads in one update."""
        if self.text_every > 1:
            return math.ceil(num_classes / self.text_every)
        if self.beta > 0 and self.ot_points == "all_classes":
            return num_classes
        is_rolled = self.beta > 0 and self.ot_points == "rolled_contexts"
        return batch_classes * (self.num_context if is_rolled else 1)

    def own_parameters(self, num_classes: int, row_length: int, encoder: EncoderSize) -> int:
        """Parameters of context, MLP and temperature, and of the encoder where it is trained."""
        contexts = num_classes if self.context == "per_class" else 1
        contexts *= max(1, self.num_context) if self.copies == "alike" else 1
        mlp = self.hidden * (encoder.width + 1) + row_length * (self.hidden + 1)
        trained = 0 if self.frozen_encoder else encoder.parameters
        return contexts * self.num_context * encoder.width + mlp + 1 + trained
