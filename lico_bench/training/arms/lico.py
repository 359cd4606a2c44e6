"""LICO as its paper describes it: cross-entropy, manifold matching, optimal transport.

L = L_CE + α L_MM + β L_OT. Per image i, F_i (C, D) are the last feature maps, one row per channel.
Its prompt is the learnable context tokens, shared by all classes and shuffled at each step, then
the tokens of its class name. The frozen encoder gives one vector per token; an MLP maps each to D
values: G_i (T, D). L_MM compares the geometry of the batch in F and in G, L_OT moves channels to
tokens within each image. Source: Lei et al., NeurIPS 2023; the values of the options: BENCHMARK.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.checks import check_count, check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.losses import manifold_matching, solve_transport
from lico_bench.models import ENCODERS, TextEncoder, TokenVectors
from lico_bench.records import Output
from lico_bench.training.arms import ARMS, Arm, Setting
from lico_bench.training.objective import CROSS_ENTROPY, Objective, Term

SMALLEST_TEMPERATURE = 0.01  # a learnable divisor must not reach zero


@dataclass(frozen=True)
class LicoOptions:
    """Every switch of the objective; the defaults are the paper's reading.

    Attributes:
        alpha: weight of manifold matching.
        beta: weight of transport.
        temperature: τ at the start, log(1 / 0.07) as in all public code; learnable.
        num_context: learnable context tokens.
        context_std: of their normal start.
        shuffle_context: draw a new order of the context tokens at each step.
        hidden: width of the MLP; the paper does not give it, all public code has 512.
        dropout: in the MLP.
        epsilon, max_iterations, tolerance: of the transport solver.
    """

    alpha: float = 10.0
    beta: float = 1.0
    temperature: float = math.log(1 / 0.07)
    num_context: int = 12
    context_std: float = 0.02
    shuffle_context: bool = True
    hidden: int = 512
    dropout: float = 0.5
    epsilon: float = 0.1
    max_iterations: int = 100
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        check_not_negative("alpha", self.alpha)
        check_not_negative("beta", self.beta)
        for name in ("temperature", "context_std", "epsilon", "tolerance"):
            check_positive(name, getattr(self, name))
        for name in ("num_context", "hidden", "max_iterations"):
            check_count(name, getattr(self, name))
        if not 0 <= self.dropout < 1:
            raise InvalidInputError(f"dropout: expected a number in [0, 1), got {self.dropout}")


class LicoObjective(Objective):
    """Cross-entropy, manifold matching and transport, with context, MLP and temperature of its own.

    Args:
        encoder: frozen; it is held outside the module tree, so that neither the optimiser nor a
            checkpoint sees it.
        num_positions: D of the feature maps, the size that the MLP maps to.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        num_positions: int,
        options: LicoOptions,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.options = options
        self._encode = encoder.encode
        self._generator = generator
        self._diagnostics: dict[str, float] = {}
        self.context = nn.Parameter(
            torch.empty(options.num_context, encoder.context_width).normal_(
                0, options.context_std, generator=generator
            )
        )
        self.inner = _linear(encoder.width, options.hidden, generator)
        self.outer = _linear(options.hidden, num_positions, generator)
        self.temperature = nn.Parameter(torch.tensor(options.temperature))
        trained = ("features", "context", "projection")
        self.terms = (
            CROSS_ENTROPY,
            Term("manifold_matching", options.alpha, (*trained, "temperature")),
            Term("transport", options.beta, trained),
        )

    def forward(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, L_MM and L_OT of a batch, each ()."""
        features = output.features.float()
        text = self._text_features(labels)
        transport = solve_transport(
            features,
            text.vectors,
            epsilon=self.options.epsilon,
            max_iterations=self.options.max_iterations,
            tolerance=self.options.tolerance,
            token_mask=text.mask,
        )
        temperature = self.temperature.clamp_min(SMALLEST_TEMPERATURE)
        self._diagnostics = {
            "temperature": float(temperature.detach()),
            "transport_iterations": float(transport.iterations),
            "transport_unconverged": float((~transport.converged).float().mean()),
        }
        return {
            **super().forward(output, labels),
            "manifold_matching": manifold_matching(features, text.vectors, temperature=temperature),
            "transport": transport.cost.mean(),
        }

    def parts(self) -> dict[str, Sequence[nn.Parameter]]:
        """Context tokens, MLP and temperature."""
        return {
            "context": [self.context],
            "projection": [*self.inner.parameters(), *self.outer.parameters()],
            "temperature": [self.temperature],
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The MLP as the recipe says; context and temperature are not drawn to zero."""
        parts = self.parts()
        return [
            {"params": list(parts["projection"])},
            {"params": [*parts["context"], *parts["temperature"]], "weight_decay": 0.0},
        ]

    def diagnostics(self) -> dict[str, float]:
        """Temperature, transport iterations, share of problems that did not converge."""
        return self._diagnostics

    def get_extra_state(self) -> Tensor:
        """State of the generator, so that a resumed training draws the same."""
        return self._generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Put the generator back."""
        self._generator.set_state(state.cpu())

    def _text_features(self, labels: Tensor) -> TokenVectors:
        """G (B, T, D) of each sample's class; rows of padding are zero and masked."""
        classes, sample_class = labels.unique(return_inverse=True)
        context: Tensor = self.context
        if self.options.shuffle_context:
            order = torch.randperm(len(context), generator=self._generator)
            context = context[order.to(context.device)]
        tokens = self._encode(context, classes)
        projected = self._project(tokens.vectors) * tokens.mask[:, :, None]
        return TokenVectors(projected[sample_class].float(), tokens.mask[sample_class])

    def _project(self, vectors: Tensor) -> Tensor:
        hidden = F.relu(self.inner(vectors))
        if self.training and self.options.dropout > 0:
            keep = 1 - self.options.dropout
            draws = torch.rand(hidden.shape, generator=self._generator).to(hidden.device)
            hidden = hidden * (draws < keep) / keep
        projected: Tensor = self.outer(hidden)
        return projected


def build_lico(setting: Setting, options: LicoOptions) -> Objective:
    """The objective for a dataset's class names and a classifier's feature maps."""
    encoder: Any = ENCODERS[setting.text_encoder].build(setting.prompt_names)
    return LicoObjective(
        encoder.to(setting.device),
        num_positions=setting.num_positions,
        options=options,
        generator=setting.generator,
    )


def _linear(width_in: int, width_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual start, drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, width_in, width_out)
    bound = 1 / math.sqrt(width_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


ARMS.add(
    "lico",
    Arm(
        title="LICO",
        summary="cross-entropy, manifold matching and transport: the paper's reading",
        source="Lei et al., NeurIPS 2023",
        build=build_lico,
        options=LicoOptions(),
        uses_text=True,
    ),
)
