"""A training under way: everything that a checkpoint must hold, and one epoch at a time.

Every random draw has a generator of its own purpose (weights, order, augmentation, objective), so
that what one arm draws more shifts nothing in the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lico_bench.data import Dataset
from lico_bench.errors import BrokenFileError, InvalidInputError, TrainingError
from lico_bench.models import Classifier
from lico_bench.models.synced_norm import synced_norms
from lico_bench.records import Output, Recipe
from lico_bench.training.diagnostics import channel_geometry
from lico_bench.training.distributed import ALONE, Peers
from lico_bench.training.epoch import EpochSoFar
from lico_bench.training.objective import Batch, Objective, assert_terms_train, term_gradients
from lico_bench.training.schedule import rate_share

LOWER_RATE = "lower the learning rate with --set recipe.learning_rate=..."
CHECK_EVERY = 20  # steps between looks at the loss, so that a GPU is not waited for at each


@dataclass
class Session:
    """A training under way: everything that a checkpoint must hold."""

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
    under_way: EpochSoFar | None = None
    peers: Peers = ALONE

    def __post_init__(self) -> None:
        self._module = torch.compile(self.classifier) if self.recipe.compile else self.classifier

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches; the rest of an epoch is left out, so that every batch has one size."""
        return max(1, len(self.dataset) // self.recipe.batch_size)

    @property
    def num_steps(self) -> int:
        """Updates in the whole training."""
        return self.batches_per_epoch * self.recipe.epochs

    def run_epoch(self) -> Iterator[int]:
        """Train one epoch, or the rest of one, yielding the number of updates done after each."""
        started = time.perf_counter()
        self.classifier.train()
        self.objective.train()
        self.under_way = so_far = self.under_way or EpochSoFar(self._draws())
        before_s = so_far.elapsed_s
        first = self.epoch * self.batches_per_epoch
        for images, labels in self._batches(skip=so_far.num_updates):
            step = first + so_far.num_updates
            with synced_norms(self.classifier, self.peers.count):
                seen = self._update(images, labels, step, looks_closer=step == first)
            so_far.seen.append(self.peers.mean(seen))
            so_far.diagnostics.append(self.peers.mean_numbers(self.objective.diagnostics()))
            so_far.elapsed_s = before_s + time.perf_counter() - started
            if so_far.num_updates % CHECK_EVERY == 0:
                self._check_finite(so_far.seen[-CHECK_EVERY:], step + 1 - CHECK_EVERY)
            yield step + 1
        rest = so_far.num_updates % CHECK_EVERY
        unchecked = so_far.num_updates - rest
        self._check_finite(so_far.seen[unchecked:], first + unchecked)
        self._record(so_far)
        self.under_way = None
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """Everything needed to go on from here, also inside an epoch: tensors, numbers, text."""
        return {
            "epoch": self.epoch,
            "under_way": None if self.under_way is None else self.under_way.state(),
            "classifier": self.classifier.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            # Inside an epoch as they were at its start: they have drawn ahead of the updates.
            "generators": self._draws() if self.under_way is None else self.under_way.draws,
            "history": list(self.history),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put everything back as `state` has it.

        Raises:
            BrokenFileError: if the state is of another training.
        """
        try:
            self.classifier.load_state_dict(state["classifier"])
            self.objective.load_state_dict(state["objective"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            for name, generator in self.generators.items():
                generator.set_state(state["generators"][name].cpu())
            inside = state.get("under_way")
            if inside is not None:
                self.under_way = EpochSoFar.from_state(inside, self._draws(), self.device)
            self.epoch, self.history = int(state["epoch"]), [tuple(r) for r in state["history"]]
        # A state of another making may hold any kind of value under a name of ours.
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise BrokenFileError(
                f"checkpoint: it belongs to another training ({str(error).splitlines()[0]}); "
                "delete it to train again"
            ) from error

    def finish(self) -> Classifier:
        """The trained classifier, in evaluation mode; with averaged weights if those are kept."""
        if self.average is not None:
            averaged = self.average.module
            # The decay is for weights; running statistics are those of the last step.
            for kept, last in zip(averaged.buffers(), self.classifier.buffers(), strict=True):
                kept.copy_(last)
            self.classifier.load_state_dict(averaged.state_dict())
        self.classifier.eval().requires_grad_(False)
        return self.classifier

    def _draws(self) -> dict[str, Tensor]:
        return {name: generator.get_state() for name, generator in self.generators.items()}

    def _batches(self, *, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Own images and all labels of the epoch's batches.

        The first `skip` batches are drawn like the others and left out.
        """
        size = min(self.recipe.batch_size, len(self.dataset))
        order = torch.randperm(len(self.dataset), generator=self.generators["order"])
        kept = order[: self.batches_per_epoch * size]
        return self.dataset.batches(
            kept.view(-1, size).unbind(),
            augmentation=self.recipe.augmentation,
            crop_padding_px=self.recipe.crop_padding_px,
            generator=self.generators["augmentation"],
            device=self.device,
            skip=skip,
            part=(self.peers.rank, self.peers.count),
        )

    def _forward(self, images: Tensor) -> Output:
        """The classifier in the precision of the training; logits in single precision.

        The features stay as they are: a converted copy is not what the logits are made of.
        """
        with self._autocast():
            output: Output = self._module(images)
        return output._replace(logits=output.logits.float())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"
        )

    def _update(
        self, images: Tensor, labels: Tensor, step: int, *, looks_closer: bool
    ) -> dict[str, Tensor]:
        share = rate_share(
            self.recipe.schedule, step, self.num_steps, warmup_frac=self.recipe.warmup_frac
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * share
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        output = self._forward(images)
        self._check_together(output, step)
        batch = Batch(
            images, self.peers.part(labels), output, self._forward, self.peers, whole_labels=labels
        )
        try:
            with self._autocast():
                values = self.objective(batch)
        except InvalidInputError as error:
            raise TrainingError(
                f"{self._place_of(step)}: {error} (where a training diverges, {LOWER_RATE})"
            ) from error
        if looks_closer:
            self._look_closer(output.features, values, step)
        loss = self.objective.total(values)
        self.optimizer.zero_grad()
        loss.backward()
        self.peers.average_gradients(self._trained())
        if self.recipe.gradient_clip > 0:
            self._clip()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.classifier)
        correct = (output.logits.argmax(1) == batch.labels).float().mean()
        seen = {"loss": loss, **values, "train_accuracy": correct}
        return {name: value.detach() for name, value in seen.items()}

    def _look_closer(self, features: Tensor, values: dict[str, Tensor], step: int) -> None:
        """Once per epoch: the gradient of each term, and whether the channels stay apart."""
        gradients = term_gradients(
            self.objective,
            values,
            self.classifier,
            self._add_gradients,
        )
        if step == 0:
            assert_terms_train(self.objective, gradients)
        norms = {f"{term}_gradient_norm": parts["features"] for term, parts in gradients.items()}
        shown = channel_geometry(self.peers.gather(features.detach()))
        for name, value in (norms | shown).items():
            self.history.append((self.epoch + 1, name, value))

    def _add_gradients(self, value: Tensor) -> None:
        """Those of one term to parameters that have none yet; the graph is kept."""
        value.backward(retain_graph=True)
        self.peers.average_gradients(self._trained())

    def _clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._trained(), self.recipe.gradient_clip)

    def _trained(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _check_together(self, output: Output, step: int) -> None:
        """Find values that are not finite in any process, so that all stop at the same step."""
        if self.peers.count == 1:
            return  # the losses look themselves
        sums = torch.stack([part.detach().float().sum() for part in output])
        if self.peers.any(not sums.isfinite().all()):
            raise TrainingError(
                f"{self._place_of(step)}: the feature maps are not finite; {LOWER_RATE}"
            )

    def _check_finite(self, seen: list[dict[str, Tensor]], first_step: int) -> None:
        if not seen:
            return
        losses = torch.stack([values["loss"] for values in seen])
        if losses.isfinite().all():
            return
        bad = int((~losses.isfinite()).nonzero()[0])
        terms = {k: float(v) for k, v in seen[bad].items() if k != "train_accuracy"}
        raise TrainingError(
            f"{self._place_of(first_step + bad)}: the loss is not finite: "
            + ", ".join(f"{name} {value:g}" for name, value in terms.items())
            + f"; {LOWER_RATE}"
        )

    def _place_of(self, step: int) -> str:
        return (
            f"step {step + 1} of {self.num_steps} "
            f"(epoch {self.epoch + 1}, arm {self.recipe.arm}, seed {self.recipe.seed})"
        )

    def _record(self, whole: EpochSoFar) -> None:
        seen, diagnostics = whole.seen, whole.diagnostics
        means = {k: float(torch.stack([v[k] for v in seen]).mean()) for k in seen[0]}
        means |= {k: sum(d[k] for d in diagnostics) / len(diagnostics) for k in diagnostics[0]}
        means["learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        means["elapsed_s"] = whole.elapsed_s
        self.history += [(self.epoch + 1, name, value) for name, value in means.items()]
