"""LICO's arms: the paper's reading, and LICO as computed by other published code.

Every point on which published computations differ is an option of `LicoOptions`; the defaults
follow the paper. A variant is the same objective with other values. Each names its source;
docs/readings.md compares them. The recipe (learning rate, batch size, dropout in the backbone,
clipping, mixed precision) is not part of a variant: both arms of a pair share it.

Source: Lei et al., NeurIPS 2023, and the published code listed in docs/reference/arms.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from lico_bench.models import ENCODERS
from lico_bench.runtime import make_generator
from lico_bench.training.arms import ARMS, Arm, ObjectiveInputs
from lico_bench.training.lico_objective import LicoObjective
from lico_bench.training.lico_options import LicoOptions
from lico_bench.training.objective import Objective

# As in the released code (ymLeiFDU/LICO at 12fee2a): index 2, the class bird, is "automobile".
AUTHORS_CIFAR10 = ("plane", "car", "automobile")
CARD_CIFAR10 = ("airplane", "automobile", "bird")
PAPER = "Lei et al., NeurIPS 2023"


def build_lico(inputs: ObjectiveInputs, options: LicoOptions) -> Objective:
    """Build the objective for a dataset's class names and a classifier's feature maps."""
    names = names_for_prompts(inputs.prompt_names, options.class_names, inputs.generator)
    encoder: Any = ENCODERS[inputs.text_encoder].build(names)
    return LicoObjective(
        encoder.to(inputs.device),
        num_classes=len(names),
        num_channels=inputs.num_channels,
        num_positions=inputs.num_positions,
        options=options,
        generator=inputs.generator,
    )


def names_for_prompts(
    names: tuple[str, ...], choice: str, generator: torch.Generator
) -> tuple[str, ...]:
    """Return the class name to use in the prompt of each class, in index order.

    `card`: the names of the dataset card. `sorted`: sorted as in Fletcher et al.; the labels stay,
    so most classes get the name of another class. `authors`: the list of the released code, which
    differs for CIFAR-10. `shuffled`: every class gets the name of another class, drawn once per
    seed.
    """
    if choice == "sorted":
        return tuple(sorted(names))
    if choice == "authors" and names[: len(CARD_CIFAR10)] == CARD_CIFAR10:
        return AUTHORS_CIFAR10 + names[len(AUTHORS_CIFAR10) :]
    if choice == "shuffled":
        # A separate generator keeps the other draws of the objective equal to those of other arms.
        name_generator = make_generator(generator.initial_seed(), "shuffled names")
        order = torch.randperm(len(names), generator=name_generator).tolist()
        # A random cycle: each class takes the name of its predecessor, so no class keeps its name.
        name_of = {order[i]: names[order[i - 1]] for i in range(len(names))}
        return tuple(name_of[i] for i in range(len(names)))
    return names


def add_variant(
    name: str, title: str, summary: str, source: str, *, text_encoder: str = "",
    uses_card: bool = False, as_published: str = "", **changes: Any,
) -> None:  # fmt: skip
    """Register an arm with this objective and changed options."""
    ARMS.add(
        name,
        Arm(
            title=title,
            summary=summary,
            source=source,
            build=build_lico,
            options=replace(LicoOptions(), **changes),
            uses_text=True,
            text_encoder=text_encoder,
            uses_card=uses_card,
            as_published=as_published,
        ),
    )


add_variant(
    "lico", "LICO", "cross-entropy, manifold matching and transport: the paper's reading", PAPER,
    uses_card=True, as_published="lico_as_published",
)  # fmt: skip
add_variant(
    "lico_as_published", "LICO, as published",
    "the paper's reading with the paper's loss weights, also where a card or a tuning sets others",
    PAPER,
)  # fmt: skip
add_variant(
    "lico_mm", "LICO, MM only", "ablation: manifold matching without transport", PAPER, beta=0.0,
    uses_card=True,
)  # fmt: skip
add_variant(
    "lico_ot", "LICO, OT only", "ablation: transport without manifold matching", PAPER, alpha=0.0,
    uses_card=True,
)  # fmt: skip
add_variant(
    "lico_shuffled_names", "LICO, shuffled names",
    "control: every class is prompted with another class's name", PAPER, class_names="shuffled",
    uses_card=True,
)  # fmt: skip
add_variant(
    "lico_random_text", "LICO, random text",
    "control: fixed random vectors in place of a text encoder's", PAPER, text_encoder="random",
    uses_card=True,
)  # fmt: skip

FLETCHER: dict[str, Any] = {
    "class_names": "sorted",
    "context": "per_class",
    "name_position": "middle",
    "mm_image": "pooled",
    "mm_text": "whole",
    "mm_normalise": False,
    "mm_floor": 1e-4,
    "ot_gradient": "full",
    "max_iterations": 1000,
}

add_variant(
    "lico_authors_code",
    "LICO, released code",
    "far samples weigh more, transport is a constant without gradient, the encoder is trained",
    "ymLeiFDU/LICO at 12fee2a (2024-10-22): models, main.py",
    class_names="authors",
    copies="alike",  # every copy is rolled by one position
    shuffle_context=False,
    frozen_encoder=False,  # the optimiser receives all parameters
    mm_image="pooled",
    mm_text="whole",
    mm_index="twice",
    mm_sign="far",
    mm_least_distance=0.01,
    ot_points="rolled_contexts",
    ot_gradient="none",
)
add_variant(
    "lico_response",
    "LICO, authors' response",
    "channels are moved to the class under rolled copies of the context",
    "Lei, Response to Reproducibility of LICO, section 2.1; what it leaves open is the paper's",
    copies="rolled",
    mm_text="whole",
    ot_points="rolled_contexts",
)
add_variant(
    "lico_bartak",
    "LICO, Bartak et al.",
    "affinities sharpened by exp(t), transport nearly without entropy and with its whole gradient",
    "Bartak et al., TMLR 10/2024: konradszewczyk/lico-reproduction at d63b896",
    context_std=1.0,
    dropout=0.0,
    temperature_min=0.0,
    temperature_max=4.6052,
    mm_scale="exp",
    ot_gradient="full",
    ot_padding=True,  # every sample has mass up to the length of the longest name
    epsilon=1e-4,
)
add_variant(
    "lico_fletcher",
    "LICO, Fletcher et al.",
    "channels are moved to the prompts of the whole batch: the published code",
    "Fletcher et al., TMLR 06/2024: robertdvdk/lico-fact at 76ed093",
    ot_points="batch_prompts",
    **FLETCHER,
)
add_variant(
    "lico_fletcher_january",
    "LICO, Fletcher et al., January",
    "channels are moved to the sample's prompt tokens: their code before a merge",
    "robertdvdk/lico-fact at c009fce (2024-01-26); what is not recorded of it is 76ed093's",
    **FLETCHER,
)
