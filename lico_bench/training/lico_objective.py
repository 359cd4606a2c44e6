"""The LICO objective: cross-entropy, manifold matching and optimal transport.

    L = L_CE + α L_MM + β L_OT

F_i (C, D) are the last feature maps of image i, one row per channel. The prompt of image i consists
of learnable context tokens, shared by all classes and shuffled at each step, and the tokens of its
class name. The frozen text encoder returns one vector per token; an MLP maps each to D values:
G_i (T, D). L_MM (`losses.manifold_matching`) compares pairwise distances within the batch in F and
in G. L_OT (`losses.transport_loss`) moves the channels of each image to the tokens of its prompt.

Every point on which published computations differ is an option; see `lico_options.py`.
Source: Lei et al., NeurIPS 2023, figure 2; prompts after Zhou et al., IJCV 2022.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.losses import manifold_matching, solve_transport
from lico_bench.models import TextEncoder
from lico_bench.training.distributed import Peers
from lico_bench.training.objective import CROSS_ENTROPY, Batch, Objective, Term
from lico_bench.training.prompts import CachedPrompts, PromptFeatures, Prompts, select_rows

if TYPE_CHECKING:
    from lico_bench.training.lico_options import LicoOptions

UNREACHABLE_TOLERANCE = 1e-30  # makes the solver run all iterations
NUM_NEAREST_WORDS = 3  # per context token
# Factor on α and β at the share of the updates after their warm-up.
WEIGHT_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _share: 1.0,
    "linear": lambda share: 1 - share,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
}


class LicoObjective(Objective):
    """Cross-entropy, manifold matching and transport; owns context tokens, MLP and temperature.

    Args:
        encoder: a frozen encoder stays outside the module tree, so that neither the optimiser nor
            checkpoints include it; with `frozen_encoder` False a copy of it is trained.
        num_classes: K.
        num_channels, num_positions: C and D of the feature maps.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        num_classes: int,
        num_channels: int,
        num_positions: int,
        options: LicoOptions,
        generator: torch.Generator,
    ) -> None:
        super().__init__(generator)
        self.options = options
        self.num_classes = num_classes
        self._diagnostics: dict[str, float] = {}
        if not options.frozen_encoder:
            self.encoder = encoder = copy.deepcopy(encoder).requires_grad_(True)
        self._nearest_words = encoder.nearest_words
        self.held = CachedPrompts(encoder, num_classes, options) if options.text_every > 1 else None
        self.prompts = Prompts(encoder, num_classes, options, generator)
        row_length = num_positions if options.ot_align == "channels" else num_channels
        self.inner = _linear(encoder.width, options.hidden, generator)
        self.outer = _linear(options.hidden, row_length, generator)
        start = torch.full((1 + options.separate_temperatures,), options.temperature)
        self.temperature = nn.Parameter(start, requires_grad=options.learn_temperature)
        self.terms = tuple(self._declare_terms())

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return cross-entropy, L_MM if alpha > 0 and L_OT if beta > 0, each ()."""
        values = super().forward(batch)
        features = batch.output.features.float()
        # Every process encodes the prompts of the complete batch, so that all draw the same values.
        text = self._encode_prompts(batch.all_labels, batch.peers)
        self._diagnostics = {}
        if self.options.alpha > 0:
            # F_i as (B, C, D), or averaged over positions, (B, C).
            compared = features if self.options.mm_image == "flat" else features.mean(2)
            values["manifold_matching"] = self._manifold_matching(
                batch.peers.gather(compared), text, batch.all_labels
            )
        if self.options.beta > 0:
            values["transport"] = self._transport(features, text, batch.peers)
        return values

    def term_factor(self, position: float) -> float:
        """Return the factor on α and β: linear from 0 over the warm-up, then their schedule."""
        warmup = self.options.weights_warmup_frac
        if position < warmup:
            return position / warmup
        schedule = WEIGHT_SCHEDULES[self.options.weights_schedule]
        return schedule((position - warmup) / (1 - warmup))

    def parts(self) -> dict[str, Sequence[nn.Parameter]]:
        """Return the parameters of MLP, context tokens, temperature, and a trained encoder."""
        parts: dict[str, Sequence[nn.Parameter]] = {
            "projection": [*self.inner.parameters(), *self.outer.parameters()]
        }
        if self.prompts.tokens is not None:
            parts["context"] = [self.prompts.tokens]
        if self.options.learn_temperature:
            parts["temperature"] = [self.temperature]
        if not self.options.frozen_encoder:
            parts["encoder"] = list(self.encoder.parameters())
        return parts

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return two groups; context tokens and temperature have no weight decay."""
        parts = self.parts()
        no_decay = ("context", "temperature")
        return [
            {"params": [p for n, part in parts.items() if n not in no_decay for p in part]},
            {"params": [p for n in no_decay for p in parts.get(n, ())], "weight_decay": 0.0},
        ]

    def diagnostics(self) -> dict[str, float]:
        """Return temperature, transport iterations and the share of unconverged problems."""
        return self._diagnostics

    def findings(self) -> dict[str, Any]:
        """Return the vocabulary words nearest to each learned context token."""
        tokens = self.prompts.tokens
        if tokens is None:
            return {}
        # With one context per class, that of the first class.
        words_per_token = self._nearest_words(tokens.detach()[0, 0], count=NUM_NEAREST_WORDS)
        return {
            "context_words": [
                [{"word": word, "cosine": round(cosine, 3)} for word, cosine in words]
                for words in words_per_token
            ]
        }

    def _declare_terms(self) -> list[Term]:
        options, parts = self.options, self.parts()
        text_parts = [name for name in ("context", "encoder") if name in parts]
        terms = [CROSS_ENTROPY]
        if options.alpha > 0:
            trains = ["features"]
            if not options.mm_detach_text:
                trains += text_parts
                trains += ["projection"] if options.mm_text == "tokens" else []
            trains += ["temperature"] if options.learn_temperature else []
            terms.append(Term("manifold_matching", options.alpha, tuple(trains)))
        if options.beta > 0:
            is_constant = options.ot_gradient == "none"
            trained = () if is_constant else ("features", "projection", *text_parts)
            terms.append(Term("transport", options.beta, trained))
        return terms

    def _encode_prompts(self, labels: Tensor, peers: Peers) -> PromptFeatures:
        """Encode the prompts of this step: of the classes in the batch, or of all classes."""
        points = self.options.ot_points if self.options.beta > 0 else ""
        if self.held is not None or points == "all_classes":
            classes, rows = torch.arange(self.num_classes, device=labels.device), labels
        else:
            classes, rows = labels.unique(return_inverse=True)
        num_copies = self.options.num_context if points == "rolled_contexts" else 1
        encode = partial(self.prompts, classes, num_copies=num_copies)
        copies = encode() if self.held is None else [self.held.next(lambda: encode()[0])]
        tokens = copies[0]
        if self.options.ot_padding:
            tokens = tokens._replace(mask=torch.ones_like(tokens.mask))
        wholes = [vectors.pooled for vectors in copies]
        return PromptFeatures(tokens, wholes, rows, self._project, peers)

    def _manifold_matching(
        self, image_features: Tensor, text: PromptFeatures, labels: Tensor
    ) -> Tensor:
        options = self.options
        text_features = text.tokens[0] if options.mm_text == "tokens" else text.pooled()
        if options.mm_index == "twice":
            # The released code indexes the texts of the batch with the class number once more.
            text_features = select_rows(text_features, labels % len(labels))
        with torch.no_grad():
            # Clamp the parameter itself: a clamped copy would have no gradient at its bounds.
            self.temperature.clamp_(options.temperature_min, options.temperature_max)
        temperatures = self.temperature
        self._diagnostics["temperature"] = float(temperatures[0].detach())
        if options.separate_temperatures:
            self._diagnostics["text_temperature"] = float(temperatures[1].detach())
        return manifold_matching(
            image_features,
            text_features.detach() if options.mm_detach_text else text_features,
            temperature=temperatures[0],
            text_temperature=temperatures[1] if options.separate_temperatures else None,
            normalise=options.mm_normalise,
            scale=options.mm_scale,  # type: ignore[arg-type]  # checked by the options
            sign=-1 if options.mm_sign == "near" else 1,
            direction=options.mm_direction,  # type: ignore[arg-type]  # checked by the options
            floor=options.mm_floor,
            least_distance=options.mm_least_distance,
        )

    def _transport(self, features: Tensor, text: PromptFeatures, peers: Peers) -> Tensor:
        """L_OT as in `losses.transport_loss`, with the diagnostics of its solver."""
        options = self.options
        points, mask = getattr(text, options.ot_points)()
        solve = partial(
            solve_transport,
            features if options.ot_align == "channels" else features.transpose(1, 2),
            points,
            epsilon=options.epsilon,
            gradient=options.ot_gradient,  # type: ignore[arg-type]  # checked by the options
            normalise=options.ot_normalise,
            kind=options.ot_cost,  # type: ignore[arg-type]  # checked by the options
            token_mask=mask,
        )
        # An error in the local part of one process must stop all processes.
        solved = peers.run_on_all(
            partial(solve, max_iterations=options.max_iterations, tolerance=options.tolerance)
        )
        iterations = peers.maximum(solved.iterations)
        unconverged = (~solved.converged).float().mean()
        if iterations > solved.iterations:
            # On one device the solver would run until the complete batch has converged.
            solved = solve(max_iterations=iterations, tolerance=UNREACHABLE_TOLERANCE)
        self._diagnostics["transport_iterations"] = float(iterations)
        self._diagnostics["transport_unconverged"] = float(unconverged)
        return solved.cost.mean()

    def _project(self, vectors: Tensor) -> Tensor:
        hidden = F.relu(self.inner(vectors))
        if self.training and self.options.dropout > 0:
            keep_prob = 1 - self.options.dropout
            draws = torch.rand(hidden.shape, generator=self.generator).to(hidden.device)
            hidden = hidden * (draws < keep_prob) / keep_prob
        projected: Tensor = self.outer(hidden)
        return projected.float()


def _linear(width_in: int, width_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's default initialisation, drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, width_in, width_out)
    bound = 1 / math.sqrt(width_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer
