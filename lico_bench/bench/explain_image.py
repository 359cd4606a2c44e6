"""Explain one image with several models and methods; the results are arrays for a figure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lico_bench.bench.cell import load_classifier
from lico_bench.bench.user_plan import USER_KIND, try_models
from lico_bench.checks import check_count
from lico_bench.data import load_card
from lico_bench.data.folder import natural_size
from lico_bench.data.image_files import FileImages, Fit
from lico_bench.errors import InvalidInputError, MissingDataError, UnknownNameError
from lico_bench.models import logits_of, scoring
from lico_bench.models.user_model import UserModel, imagenet_names
from lico_bench.saliency import explain, resolve_method
from lico_bench.store import RunFolder, newest_run
from lico_bench.store.run_records import CellEntry, Manifest

MAX_LISTED_CLASSES = 20  # in the message for an unknown class


@dataclass(frozen=True)
class ExplainedMap:
    """A saliency map of the image.

    Attributes:
        values: (H, W) float32.
        is_signed: whether negative values mean evidence against the class.
    """

    method: str
    title: str
    values: NDArray[np.float32]
    is_signed: bool

    @property
    def is_flat(self) -> bool:
        """Whether the map is constant."""
        return bool(self.values.min() == self.values.max())


@dataclass(frozen=True)
class ModelExplanation:
    """Prediction and saliency maps of one model.

    Attributes:
        predicted: name of the predicted class.
        probability: probability of the predicted class.
        target_probability: probability of the target class.
    """

    arm: str
    title: str
    predicted: str
    probability: float
    target_probability: float
    maps: tuple[ExplainedMap, ...]


@dataclass(frozen=True)
class Explanation:
    """Saliency maps of one image for one target class by several models.

    Attributes:
        image: (H, W, 3) float32 in [0, 1], the input of the models.
        target: name of the target class.
        chosen_by: display text: how the target class was selected.
        rows: one entry per model.
    """

    image: NDArray[np.float32]
    target: str
    chosen_by: str
    rows: tuple[ModelExplanation, ...]


@dataclass(frozen=True)
class NamedModel:
    """A model with its display name."""

    title: str
    network: nn.Module


def read_image(path: Path, fit: Fit) -> Tensor:
    """Read an image as (1, 3, S, S) float32 in [0, 1].

    Raises:
        MissingDataError: if there is no such file.
        BrokenFileError: if it cannot be decoded.
    """
    if not path.is_file():
        raise MissingDataError(f"no such image: {path}; correct the path")
    return FileImages((path,), (path.name,), fit).take(torch.tensor([0])).float().div_(255)


def explain_image(
    image: Tensor,
    models: Mapping[str, NamedModel],
    *,
    methods: Sequence[str],
    class_names: Sequence[str],
    chosen: str | None = None,
) -> Explanation:
    """Explain one image with each model and method, all for the same target class.

    Args:
        image: (1, 3, H, W) float32 in [0, 1], on the models' device.
        models: by arm, the reference first.
        class_names: in index order.
        chosen: name or number of the target class; None means the first model's prediction.

    Raises:
        UnknownNameError: for an unknown method, option or class.
        InvalidInputError: for a class number out of range, an ambiguous name, or broken maps.
    """
    resolved = dict(resolve_method(text) for text in methods)
    if not resolved:
        raise InvalidInputError("--methods: expected at least one method, see `ls methods`")
    probs = {arm: _probabilities(model.network, image) for arm, model in models.items()}
    first = next(iter(models))
    chosen_by = f"predicted by {models[first].title}" if chosen is None else "as asked"
    target = int(probs[first].argmax()) if chosen is None else find_class(chosen, class_names)
    targets = torch.tensor([target], device=image.device)
    rows = []
    for arm, model in models.items():
        maps = tuple(
            ExplainedMap(
                name,
                entry.title,
                explain(model.network, image, targets, method=name)[0].cpu().numpy(),
                entry.is_signed,
            )
            for name, entry in resolved.items()
        )
        best = int(probs[arm].argmax())
        rows.append(
            ModelExplanation(
                arm, model.title, class_names[best], float(probs[arm][best]),
                float(probs[arm][target]), maps,
            )
        )  # fmt: skip
    pixels = image[0].permute(1, 2, 0).cpu().numpy()
    return Explanation(pixels, class_names[target], chosen_by, tuple(rows))


def find_class(text: str, names: Sequence[str]) -> int:
    """Return the index of the class named `text`, or `text` itself as an index.

    Raises:
        UnknownNameError: for an unknown name.
        InvalidInputError: for a number out of range or a name of several classes.
    """
    matches = [number for number, name in enumerate(names) if name.casefold() == text.casefold()]
    if len(matches) > 1:
        raise InvalidInputError(
            f"--class {text}: classes {', '.join(map(str, matches))} have this name; "
            "pass the number"
        )
    if matches:
        return matches[0]
    if text.isdigit():
        if int(text) >= len(names):
            raise InvalidInputError(
                f"--class {text}: expected a name or a number from 0 to {len(names) - 1}"
            )
        return int(text)
    if len(names) <= MAX_LISTED_CLASSES:
        raise UnknownNameError.of("class", text, names)
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise UnknownNameError(
        f"unknown class '{text}'{hint}; pass a name or a number from 0 to {len(names) - 1}"
    )


@dataclass(frozen=True)
class ExplainSubjects:
    """Models to explain an image with.

    Attributes:
        models: by arm.
        class_names: in index order.
        fit: how an image is resized and cropped to the models' input size.
        notes: messages for the user.
    """

    models: dict[str, NamedModel]
    class_names: tuple[str, ...]
    fit: Fit
    notes: tuple[str, ...]


def user_subjects(
    models: Mapping[str, UserModel],
    path: Path,
    *,
    methods: Sequence[str],
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
) -> ExplainSubjects:
    """Prepare user models for the image at `path`; each model is tried on it.

    Raises:
        InvalidInputError: if a model cannot be explained, or `classes` has the wrong length.
        BrokenFileError: if the image cannot be decoded.
    """
    if image_size is not None:
        check_count("--image-size", image_size)
    fit = Fit(image_size or natural_size((path,)), "crop", 1.0, 0)
    first = next(iter(models.values()))
    resolved = dict(resolve_method(text) for text in methods)
    num_classes = try_models(models, read_image(path, fit), resolved)
    names = tuple(classes or imagenet_names(first.network, num_classes) or ())
    if classes is not None and len(names) != num_classes:
        raise InvalidInputError(
            f"--classes: expected {num_classes} names, one for each class of the model, got "
            f"{len(names)}; list all of them in index order"
        )
    names = names or tuple(f"class {number}" for number in range(num_classes))
    named_models = {arm: NamedModel(arm, model.network) for arm, model in models.items()}
    notes = dict.fromkeys(note for model in models.values() for note in model.notes)
    return ExplainSubjects(named_models, names, fit, tuple(notes))


def models_of_run(
    run: RunFolder, *, dataset: str | None, seed: int, device: torch.device
) -> ExplainSubjects:
    """Load the finished models of a dataset and seed from a run folder.

    Args:
        dataset: None means the run's first dataset.

    Raises:
        UnknownNameError: for a dataset that is not in the run.
        MissingDataError: if no model of that dataset and seed is finished, or the run has none.
        BrokenFileError: for damaged weights.
    """
    manifest = run.manifest()
    if not _holds_models(manifest):
        raise MissingDataError(
            f"{run.path} holds scores of user models, not the models; pass the models with "
            "--model and --weights, or a run of `lico-bench run` with --run"
        )
    known = manifest.datasets
    name = next(iter(known)) if dataset is None else dataset
    if name not in known:
        raise UnknownNameError.of(f"dataset of {run.path}:", name, known)
    facts = known[name]
    cells = [c for c in manifest.cells if c.recipe.dataset == name]
    done = [c for c in cells if c.key in set(run.finished()) and c.recipe.seed == seed]
    if not done:
        seeds = sorted({c.recipe.seed for c in cells})
        raise MissingDataError(
            f"{run.path}: no finished model of {name} with seed {seed}; the planned seeds are "
            f"{', '.join(map(str, seeds))}: repeat `lico-bench run` to finish it, or pass --seed"
        )
    models = {c.recipe.arm: _stored_model(run, c, manifest, device) for c in done}
    fit = Fit.of(load_card(name), facts.image_size[0])
    note = f"{run.path}: {facts.title}, seed {seed}, images at {fit.size} px"
    return ExplainSubjects(models, facts.class_names, fit, (note,))


def newest_trained_run(results: Path = Path("results")) -> RunFolder:
    """Return the latest run under `results` that trained models.

    Raises:
        MissingDataError: if there is none.
    """
    try:
        return newest_run(results, accept=lambda run: _holds_models(run.manifest()))
    except MissingDataError as error:
        raise MissingDataError(
            f"no run under {results}/ has trained models; create one with `lico-bench run`, pass "
            "one with --run, or pass a model with --model"
        ) from error


def _holds_models(manifest: Manifest) -> bool:
    return manifest.suite.kind != USER_KIND


def _stored_model(
    run: RunFolder, cell: CellEntry, manifest: Manifest, device: torch.device
) -> NamedModel:
    recipe = cell.recipe
    classifier = load_classifier(
        run.cell(cell.key).model,
        recipe.backbone,
        num_classes=len(manifest.datasets[recipe.dataset].class_names),
        channels_last=bool(recipe.other.get("channels_last", True)),
        device=device,
    )
    return NamedModel(manifest.arm_title(recipe.arm), classifier)


def _probabilities(network: nn.Module, image: Tensor) -> Tensor:
    """Return the class probabilities, (K,) on the CPU."""
    with scoring(network):
        return logits_of(network(image)).float().softmax(1)[0].cpu()
