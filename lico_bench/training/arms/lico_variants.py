"""LICO as computed by other published code, as option values of the same objective.

Each arm names its source; BENCHMARK.md compares the variants. The recipe (learning rate, batch
size, dropout in the backbone, clipping, mixed precision) is not part of a variant: both arms of a
pair share it.
"""

from __future__ import annotations

from typing import Any

from lico_bench.training.arms.lico import add_variant

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
