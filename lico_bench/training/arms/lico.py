"""LICO: cross-entropy, manifold matching, optimal transport, with every disputed point a switch.

L = L_CE + α L_MM + β L_OT. Per image i, F_i (C, D) are the last feature maps, one row per channel.
Its prompt is the learnable context tokens, shared by all classes and shuffled at each step, then
the tokens of its class name. The frozen encoder gives one vector per token; an MLP maps each to D
values: G_i (T, D). L_MM compares the geometry of the batch in F and in G, L_OT moves channels to
tokens within each image. Source: Lei et al., NeurIPS 2023; the values of the options: BENCHMARK.md.
The defaults are the paper's reading; `readings.py` holds what other parties computed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lico_bench.errors import InvalidInputError
from lico_bench.losses import manifold_matching, solve_transport
from lico_bench.models import ENCODERS, TextEncoder, TokenVectors
from lico_bench.training.arms import ARMS, Arm, Setting
from lico_bench.training.distributed import Peers
from lico_bench.training.lico_options import LicoOptions
from lico_bench.training.objective import CROSS_ENTROPY, Batch, Objective, Term
from lico_bench.training.prompts import HeldPrompts, Prompts, names_for_prompts

Points = tuple[Tensor, Tensor | None]  # text points of each sample, and which of them count
PAPER = "Lei et al., NeurIPS 2023"
NEVER_REACHED = 1e-30  # a tolerance with which all iterations are made
SHOWN_WORDS = 3  # nearest vocabulary words per context token


class LicoObjective(Objective):
    """Cross-entropy, manifold matching and transport, with context, MLP and temperature of its own.

    Args:
        encoder: a frozen one is held outside the module tree, so that neither the optimiser nor a
            checkpoint sees it; with `frozen_encoder` False a copy of it is trained.
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
            encoder = copy.deepcopy(encoder)
            self.encoder = _as_module(encoder).requires_grad_(True)
        self._nearest_words = encoder.nearest_words
        self.held = (
            HeldPrompts(
                encoder,
                num_classes=num_classes,
                num_context=options.num_context,
                every=options.text_every,
            )
            if options.text_every > 1
            else None
        )
        self.prompts = Prompts(
            encoder,
            num_classes=num_classes,
            num_context=options.num_context,
            context_std=options.context_std,
            context=options.context,
            copies=options.copies,
            position=options.name_position,
            shuffle=options.shuffle_context,
            generator=generator,
        )
        row_length = num_positions if options.ot_align == "channels" else num_channels
        self.inner = _linear(encoder.width, options.hidden, generator)
        self.outer = _linear(options.hidden, row_length, generator)
        start = torch.full((1 + options.separate_temperatures,), options.temperature)
        self.temperature = nn.Parameter(start, requires_grad=options.learn_temperature)
        self.terms = tuple(self._declare_terms())

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, and of L_MM and L_OT those that have a weight, each ()."""
        values = super().forward(batch)
        features = batch.output.features.float()
        # The prompts of the whole batch, so that every process draws and reads the same.
        text = self._read(batch.all_labels, batch.peers)
        self._diagnostics = {}
        if self.options.alpha > 0:
            values["manifold_matching"] = self._manifold_matching(
                batch.peers.gather(self._compared(features)), text, batch.all_labels
            )
        if self.options.beta > 0:
            values["transport"] = self._transport(features, text, batch.peers)
        return values

    def parts(self) -> dict[str, Sequence[nn.Parameter]]:
        """Context tokens, MLP, temperature, and the encoder where it is trained."""
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
        """As the recipe says, but context and temperature are not drawn to zero."""
        parts = self.parts()
        free = ("context", "temperature")
        return [
            {"params": [p for n, part in parts.items() if n not in free for p in part]},
            {"params": [p for n in free for p in parts.get(n, ())], "weight_decay": 0.0},
        ]

    def diagnostics(self) -> dict[str, float]:
        """Temperature, transport iterations, share of problems that did not converge."""
        return self._diagnostics

    def findings(self) -> dict[str, Any]:
        """Nearest words of the encoder's vocabulary to each learned context token."""
        tokens = self.prompts.tokens
        if tokens is None:
            return {}
        # With one context per class the first class's is shown.
        words = self._nearest_words(tokens.detach()[0, 0], count=SHOWN_WORDS)
        return {
            "context_words": [
                [{"word": word, "cosine": round(cosine, 3)} for word, cosine in nearest]
                for nearest in words
            ]
        }

    def _declare_terms(self) -> list[Term]:
        options, text_parts = self.options, []
        if self.prompts.tokens is not None:
            text_parts.append("context")
        if not options.frozen_encoder:
            text_parts.append("encoder")
        terms = [CROSS_ENTROPY]
        if options.alpha > 0:
            trains = ["features"]
            if not options.mm_detach_text:
                trains += text_parts
                trains += ["projection"] if options.mm_text == "tokens" else []
            trains += ["temperature"] if options.learn_temperature else []
            terms.append(Term("manifold_matching", options.alpha, tuple(trains)))
        if options.beta > 0:
            reached = () if options.ot_gradient == "none" else ("features", "projection")
            terms.append(
                Term("transport", options.beta, (*reached, *text_parts) if reached else ())
            )
        return terms

    def _read(self, labels: Tensor, peers: Peers) -> _Text:
        """The prompts this step needs: of the batch's classes, or of all."""
        classes, of_sample = labels.unique(return_inverse=True)
        if self.options.ot_points == "all_classes" and self.options.beta > 0:
            classes, of_sample = torch.arange(self.num_classes, device=labels.device), labels
        if self.held is not None:
            classes, of_sample = torch.arange(self.num_classes, device=labels.device), labels
        needs_copies = self.options.ot_points == "rolled_contexts" and self.options.beta > 0
        read = partial(
            self.prompts,
            classes,
            num_copies=self.prompts.num_copies if needs_copies else 1,
            constant_copies=self.options.ot_gradient == "none",
        )
        copies = read() if self.held is None else [self.held.next(lambda: read()[0])]
        first = copies[0]
        if self.options.ot_padding:
            first = first._replace(mask=torch.ones_like(first.mask))
        wholes = [reading.whole for reading in copies]
        return _Text(first, wholes, of_sample, self._project, peers)

    def _compared(self, features: Tensor) -> Tensor:
        """F_i as manifold matching takes it, (B, C, D) or (B, C)."""
        return features if self.options.mm_image == "flat" else features.mean(2)

    def _manifold_matching(self, images: Tensor, text: _Text, labels: Tensor) -> Tensor:
        options = self.options
        of_text = text.tokens()[0] if options.mm_text == "tokens" else text.whole()
        if options.mm_index == "twice":
            # The released code indexes the batch's texts with the class number once more.
            of_text = _pick(of_text, labels % len(labels))
        with torch.no_grad():
            # The parameter itself is held: a clamped copy would have no gradient at the border.
            self.temperature.clamp_(options.temperature_min, options.temperature_max)
        temperatures = self.temperature
        self._diagnostics["temperature"] = float(temperatures[0].detach())
        if options.separate_temperatures:
            self._diagnostics["text_temperature"] = float(temperatures[1].detach())
        return manifold_matching(
            images,
            of_text.detach() if options.mm_detach_text else of_text,
            temperature=temperatures[0],
            text_temperature=temperatures[1] if options.separate_temperatures else None,
            normalise=options.mm_normalise,
            scale=options.mm_scale,  # type: ignore[arg-type]  # checked by the options
            sign=-1 if options.mm_sign == "near" else 1,
            direction=options.mm_direction,  # type: ignore[arg-type]  # checked by the options
            floor=options.mm_floor,
            least_distance=options.mm_least_distance,
        )

    def _transport(self, features: Tensor, text: _Text, peers: Peers) -> Tensor:
        options = self.options
        points, mask = OT_POINTS[options.ot_points](text)
        solve = partial(
            solve_transport,
            features if options.ot_align == "channels" else features.transpose(1, 2),
            points,
            epsilon=options.epsilon,
            gradient=options.ot_gradient,  # type: ignore[arg-type]  # checked by the options
            normalise=options.ot_normalise,
            kind=options.ot_cost,  # type: ignore[arg-type]  # checked by the options
            token_mask=None if options.ot_padding else mask,
        )
        # What cannot be solved in one part of the batch ends the training of all.
        solved = peers.attempt(
            partial(solve, max_iterations=options.max_iterations, tolerance=options.tolerance)
        )
        iterations = peers.largest(solved.iterations)
        unconverged = (~solved.converged).float().mean()
        if iterations > solved.iterations:
            # The solver goes on until the whole batch has converged, the other parts too.
            solved = solve(max_iterations=iterations, tolerance=NEVER_REACHED)
        self._diagnostics["transport_iterations"] = float(iterations)
        self._diagnostics["transport_unconverged"] = float(unconverged)
        return solved.cost.mean()

    def _project(self, vectors: Tensor) -> Tensor:
        hidden = F.relu(self.inner(vectors))
        if self.training and self.options.dropout > 0:
            keep = 1 - self.options.dropout
            draws = torch.rand(hidden.shape, generator=self.generator).to(hidden.device)
            hidden = hidden * (draws < keep) / keep
        projected: Tensor = self.outer(hidden)
        return projected.float()


class _Text:
    """What the encoder said in one step, handed out as the terms ask for it.

    Args:
        first: prompts of the read classes under the first copy of the context.
        wholes: (K, D_text) of each copy.
        of_sample: (B,) row of each sample's class, over the whole batch.
        project: the MLP.
        peers: who have the parts of the batch; transport asks for the points of the own part.
    """

    def __init__(
        self,
        first: TokenVectors,
        wholes: list[Tensor],
        of_sample: Tensor,
        project: Callable[[Tensor], Tensor],
        peers: Peers,
    ) -> None:
        self._first, self._wholes = first, wholes
        self._of_sample, self._project, self._peers = of_sample, project, peers
        self._own = peers.part(of_sample)
        self._tokens: Points | None = None

    def tokens(self) -> Points:
        """G (B, T, D) of each sample's prompt and its mask (B, T); masked rows are zero."""
        if self._tokens is None:
            rows = self._project(self._first.vectors) * self._first.mask[:, :, None]
            self._tokens = _pick(rows, self._of_sample), self._first.mask[self._of_sample]
        return self._tokens

    def own_tokens(self) -> Points:
        """`tokens` of the own part."""
        rows, mask = self.tokens()
        return self._peers.part(rows), None if mask is None else self._peers.part(mask)

    def whole(self) -> Tensor:
        """(B, D_text) of each sample's prompt, before the MLP."""
        return _pick(self._wholes[0], self._of_sample).float()

    def rolled_contexts(self) -> Points:
        """(B, M, D): each sample's class under every copy of the context."""
        return _pick(self._project(torch.stack(self._wholes, 1)), self._own), None

    def all_classes(self) -> Points:
        """(B, K, D): the prompts of all classes, the same for every sample."""
        return self._project(self._wholes[0]).expand(len(self._own), -1, -1), None

    def batch_prompts(self) -> Points:
        """(B, B, D): the prompts of all samples of the batch, the same for every sample."""
        projected = _pick(self._project(self._wholes[0]), self._of_sample)
        return projected.expand(len(self._own), -1, -1), None


OT_POINTS: dict[str, Callable[[_Text], Points]] = {
    "prompt_tokens": _Text.own_tokens,
    "rolled_contexts": _Text.rolled_contexts,
    "all_classes": _Text.all_classes,
    "batch_prompts": _Text.batch_prompts,
}


def build_lico(setting: Setting, options: LicoOptions) -> Objective:
    """The objective for a dataset's class names and a classifier's feature maps."""
    names = names_for_prompts(setting.prompt_names, options.class_names, setting.generator)
    encoder: Any = ENCODERS[setting.text_encoder].build(names)
    return LicoObjective(
        encoder.to(setting.device),
        num_classes=len(names),
        num_channels=setting.num_channels,
        num_positions=setting.num_positions,
        options=options,
        generator=setting.generator,
    )


def _as_module(encoder: TextEncoder) -> nn.Module:
    if not isinstance(encoder, nn.Module):
        raise InvalidInputError("frozen_encoder: expected an encoder that is a torch module")
    return encoder


def _pick(rows: Tensor, indices: Tensor) -> Tensor:
    """`rows[indices]`, whose backward pass adds up in a fixed order: that of indexing does not."""
    return rows.index_select(0, indices)


def _linear(width_in: int, width_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual start, drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, width_in, width_out)
    bound = 1 / math.sqrt(width_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def add_variant(
    name: str, title: str, summary: str, source: str, *, text_encoder: str = "",
    uses_card: bool = False, **changes: Any,
) -> None:  # fmt: skip
    """Register an arm that is this objective with some options changed."""
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
        ),
    )


add_variant(
    "lico", "LICO", "cross-entropy, manifold matching and transport: the paper's reading", PAPER,
    uses_card=True,
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
