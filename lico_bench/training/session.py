"""The state of a training in progress, and the updates of one epoch.

Each purpose (weights, order, augmentation, objective) has a separate random generator, so that
extra draws of one arm do not change the draws of another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lico_bench.data import Dataset
from lico_bench.errors import BrokenFileError, InvalidInputError, TrainingError
from lico_bench.models import Classifier
from lico_bench.records import SCHEDULES, Output, Recipe
from lico_bench.training.distributed import SINGLE_PROCESS, Peers, synced_norms
from lico_bench.training.objective import Batch, Objective, assert_terms_train, term_gradients

LOWER_RATE = "lower the learning rate with --set recipe.learning_rate=..."
WARM_START = 1 / 25  # of the learning rate, at the first update of `one_cycle`
CHECK_EVERY = 20  # steps between checks of the loss; each check synchronises with the GPU
MAX_IMAGES = 32  # of `channel_geometry`; the mean over this many is stable enough and cheap


@dataclass
class PartialEpoch:
    """Measurements of the finished updates of an epoch, from which it resumes with the same bits.

    Attributes:
        draws: state of each generator at the start of the epoch. Generators draw ahead of the
            updates, so a resumed epoch repeats the draws of finished updates.
        seen: detached () tensors of each finished update, by name.
        diagnostics: numbers of the objective after each finished update.
        elapsed_s: training time of the finished updates.
    """

    draws: dict[str, Tensor]
    seen: list[dict[str, Tensor]] = field(default_factory=list)
    diagnostics: list[dict[str, float]] = field(default_factory=list)
    elapsed_s: float = 0.0

    def state(self) -> dict[str, Any]:
        """Return everything but `draws`, with one tensor per quantity instead of one per update."""
        names = self.seen[0] if self.seen else {}
        return {
            "seen": {name: torch.stack([values[name] for values in self.seen]) for name in names},
            "diagnostics": list(self.diagnostics),
            "elapsed_s": self.elapsed_s,
        }

    @classmethod
    def from_state(
        cls, state: dict[str, Any], draws: dict[str, Tensor], device: torch.device
    ) -> PartialEpoch:
        """Restore the result of `state`, with the values of `seen` on `device`."""
        rows = zip(*(values.to(device).unbind() for values in state["seen"].values()), strict=True)
        seen = [dict(zip(state["seen"], row, strict=True)) for row in rows]
        diagnostics = [dict(numbers) for numbers in state["diagnostics"]]
        return cls(draws, seen, diagnostics, float(state["elapsed_s"]))


@dataclass
class Session:
    """A training in progress; holds everything that a checkpoint contains.

    Attributes:
        average: exponential moving average of the weights, if the recipe has one.
        epoch: number of finished epochs.
        history: (epoch, quantity, value) of finished epochs.
        under_way: the unfinished epoch, None between epochs.
    """

    recipe: Recipe
    dataset: Dataset
    classifier: Classifier
    objective: Objective
    optimizer: torch.optim.Optimizer
    device: torch.device
    generators: dict[str, torch.Generator]
    average: AveragedModel | None = None
    epoch: int = 0
    history: list[tuple[int, str, float]] = field(default_factory=list)
    under_way: PartialEpoch | None = None
    peers: Peers = SINGLE_PROCESS

    def __post_init__(self) -> None:
        self._module = torch.compile(self.classifier) if self.recipe.compile else self.classifier

    @property
    def batches_per_epoch(self) -> int:
        """Number of full batches per epoch; the remaining images are skipped."""
        return max(1, len(self.dataset) // self.recipe.batch_size)

    @property
    def num_steps(self) -> int:
        """Number of updates of the complete training."""
        return self.batches_per_epoch * self.recipe.epochs

    def run_epoch(self) -> Iterator[int]:
        """Train one epoch, or the rest of it; yield the number of finished updates after each."""
        started = time.perf_counter()
        self.classifier.train()
        self.objective.train()
        self.under_way = epoch = self.under_way or PartialEpoch(self._generator_states())
        earlier_s = epoch.elapsed_s
        first = self.epoch * self.batches_per_epoch
        for images, labels in self._batches(skip=len(epoch.seen)):
            step = first + len(epoch.seen)
            with synced_norms(self.classifier, self.peers.count):
                values = self._update(images, labels, step)
            epoch.seen.append(self.peers.mean(values))
            epoch.diagnostics.append(self.peers.mean_numbers(self.objective.diagnostics()))
            epoch.elapsed_s = earlier_s + time.perf_counter() - started
            if len(epoch.seen) % CHECK_EVERY == 0 or len(epoch.seen) == self.batches_per_epoch:
                start = (len(epoch.seen) - 1) // CHECK_EVERY * CHECK_EVERY
                self._check_finite(epoch.seen[start:], first + start)
            yield step + 1
        self._record_epoch(epoch)
        self.under_way = None
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """Return the complete state, also within an epoch: tensors, numbers and text."""
        return {
            "epoch": self.epoch,
            "under_way": None if self.under_way is None else self.under_way.state(),
            "classifier": self.classifier.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            # Within an epoch, the states at its start: generators draw ahead of the updates.
            "generators": (
                self._generator_states() if self.under_way is None else self.under_way.draws
            ),
            "history": list(self.history),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`.

        Raises:
            BrokenFileError: if the state belongs to another training.
        """
        try:
            self.classifier.load_state_dict(state["classifier"])
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            for name, generator in self.generators.items():
                generator.set_state(state["generators"][name].cpu())
            epoch_state = state.get("under_way")
            if epoch_state is not None:
                self.under_way = PartialEpoch.from_state(
                    epoch_state, self._generator_states(), self.device
                )
            self.epoch, self.history = int(state["epoch"]), [tuple(r) for r in state["history"]]
        # The state of another program may hold values of any type under these keys.
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise BrokenFileError(
                f"checkpoint: it belongs to another training ({str(error).splitlines()[0]}); "
                "delete it to train again"
            ) from error

    def finish(self) -> Classifier:
        """Return the trained classifier in evaluation mode, with averaged weights if configured."""
        if self.average is not None:
            averaged = self.average.module
            # Only weights are averaged; running statistics are those of the last step.
            for buffer, last in zip(averaged.buffers(), self.classifier.buffers(), strict=True):
                buffer.copy_(last)
            self.classifier.load_state_dict(averaged.state_dict())
        self.classifier.eval().requires_grad_(False)
        values = (*self.classifier.parameters(), *self.classifier.buffers())
        if not all(value.isfinite().all() for value in values):
            # The loss is computed before an update, so that the last one is not seen in it.
            raise TrainingError(
                f"{self._describe_step(self.num_steps - 1)}: the weights are not finite; "
                f"{LOWER_RATE}"
            )
        return self.classifier

    def _generator_states(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in self.generators.items()}

    def _batches(self, *, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the local images and the labels of the complete batch, for each batch.

        The first `skip` batches are drawn like the others and not yielded.
        """
        size = min(self.recipe.batch_size, len(self.dataset))
        order = torch.randperm(len(self.dataset), generator=self.generators["order"])
        used = order[: self.batches_per_epoch * size]
        return self.dataset.batches(
            used.view(-1, size).unbind(),
            augmentation=self.recipe.augmentation,
            crop_padding_px=self.recipe.crop_padding_px,
            generator=self.generators["augmentation"],
            device=self.device,
            skip=skip,
            part=(self.peers.rank, self.peers.count),
        )

    def _forward(self, images: Tensor) -> Output:
        """Run the classifier in the precision of the training; return float32 logits.

        Features are not converted: the logits would not depend on a converted copy.
        """
        with self._autocast():
            output: Output = self._module(images)
        return output._replace(logits=output.logits.float())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
        )

    def _update(self, images: Tensor, labels: Tensor, step: int) -> dict[str, Tensor]:
        """Train on one batch and return its detached loss, terms and accuracy."""
        factor = rate_factor(
            self.recipe.schedule, step, self.num_steps, warmup_frac=self.recipe.warmup_frac
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        output = self._forward(images)
        self._check_all_processes(output, step)
        batch = Batch(images, self.peers.part(labels), output, self._forward, self.peers, labels)
        try:
            with self._autocast():
                values = self.objective(batch)
        except InvalidInputError as error:
            raise TrainingError(
                f"{self._describe_step(step)}: {error} (if the training diverges, {LOWER_RATE})"
            ) from error
        if step % self.batches_per_epoch == 0:
            self._record_diagnostics(output.features, values, step)
        loss = self.objective.total(values, position=step / self.num_steps)
        self.optimizer.zero_grad()
        loss.backward()
        self.peers.average_gradients(self._trained_parameters())
        if self.recipe.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self._trained_parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.classifier)
        correct = (output.logits.argmax(1) == batch.labels).float().mean()
        results = {"loss": loss, **values, "train_accuracy": correct}
        return {name: value.detach() for name, value in results.items()}

    def _record_diagnostics(self, features: Tensor, values: dict[str, Tensor], step: int) -> None:
        """Record the gradient norm of each term and the similarity of the channels."""

        def backward(value: Tensor) -> None:
            value.backward(retain_graph=True)
            self.peers.average_gradients(self._trained_parameters())

        gradients = term_gradients(self.objective, values, self.classifier, backward)
        if step == 0:
            assert_terms_train(self.objective, gradients)
        norms = {f"{term}_gradient_norm": parts["features"] for term, parts in gradients.items()}
        geometry = channel_geometry(self.peers.gather(features.detach()))
        self.history += [(self.epoch + 1, *item) for item in (norms | geometry).items()]

    def _trained_parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _check_all_processes(self, output: Output, step: int) -> None:
        """Find non-finite values in any process, so that all processes stop at the same step."""
        if self.peers.count == 1:
            return  # the losses check their inputs
        sums = torch.stack([part.detach().float().sum() for part in output])
        if self.peers.any(not sums.isfinite().all()):
            raise TrainingError(
                f"{self._describe_step(step)}: the feature maps are not finite; {LOWER_RATE}"
            )

    def _check_finite(self, updates: list[dict[str, Tensor]], first_step: int) -> None:
        losses = torch.stack([values["loss"] for values in updates])
        if losses.isfinite().all():
            return
        index = int((~losses.isfinite()).nonzero()[0])
        terms = {k: float(v) for k, v in updates[index].items() if k != "train_accuracy"}
        raise TrainingError(
            f"{self._describe_step(first_step + index)}: the loss is not finite: "
            + ", ".join(f"{name} {value:g}" for name, value in terms.items())
            + f"; {LOWER_RATE}"
        )

    def _describe_step(self, step: int) -> str:
        return (
            f"step {step + 1} of {self.num_steps} "
            f"(epoch {self.epoch + 1}, arm {self.recipe.arm}, seed {self.recipe.seed})"
        )

    def _record_epoch(self, epoch: PartialEpoch) -> None:
        seen, diagnostics = epoch.seen, epoch.diagnostics
        means = {k: float(torch.stack([v[k] for v in seen]).mean()) for k in seen[0]}
        means |= {k: sum(d[k] for d in diagnostics) / len(diagnostics) for k in diagnostics[0]}
        means["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        means["elapsed_s"] = epoch.elapsed_s
        self.history += [(self.epoch + 1, name, value) for name, value in means.items()]


def channel_geometry(features: Tensor) -> dict[str, float]:
    """Return the similarity of the channel maps of an image, mean over at most 32 images.

    Transport moves all channels of an image to the few tokens of one prompt. If the channels
    collapse, the cosine and the rank both go to 1.

    Args:
        features: (B, C, D), one row per channel.

    Returns:
        `channel_cosine`: mean cosine of two different rows, in [-1, 1], without zero rows.
        `effective_rank`: exp of the entropy of the normalised singular values, in [1, min(C, D)].

    Source: Roy & Vetterli, EUSIPCO 2007 (effective rank).
    """
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        rows = F.normalize(features[:MAX_IMAGES].float(), dim=2)
        alive = rows.square().sum(2).round()  # 1, or 0 for a dead channel
        count = alive.sum(1)
        pairs = (count * (count - 1)).clamp_min(1)
        cosine = (rows.sum(1).square().sum(1) - count) / pairs
        short_side_first = rows if rows.shape[1] < rows.shape[2] else rows.transpose(1, 2)
        gram = short_side_first @ short_side_first.transpose(1, 2)
        values = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()  # singular values
        shares = values / values.sum(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
        rank = torch.special.entr(shares).sum(1).exp()
        return {"channel_cosine": float(cosine.mean()), "effective_rank": float(rank.mean())}


def rate_factor(schedule: str, step: int, num_steps: int, *, warmup_frac: float = 0.3) -> float:
    """Return the factor in (0, 1] on the learning rate at `step` (from 0) of `num_steps`.

    `constant`: 1. `cosine`: (1 + cos(π k / K)) / 2. `cosine_7_16`: cos(7 π k / 16 K), which ends at
    0.195 (the paper's). `one_cycle`: linear from 1/25 to 1 over the first `warmup_frac`, then a
    cosine to 0 (after Smith & Topin, 2018, with 30 % warm-up).
    """
    position = step / num_steps
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * position))
    if schedule == "cosine_7_16":
        return math.cos(7 * math.pi * position / 16)
    if schedule == "one_cycle":
        if position < warmup_frac:
            return WARM_START + (1 - WARM_START) * position / warmup_frac
        return 0.5 * (1 + math.cos(math.pi * (position - warmup_frac) / (1 - warmup_frac)))
    raise InvalidInputError(f"schedule: expected one of {', '.join(SCHEDULES)}, got '{schedule}'")
