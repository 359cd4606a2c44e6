"""Classify, explain and score batches with one model; collect rows, curves and images."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lico_bench.data import Dataset
from lico_bench.errors import InvalidInputError
from lico_bench.evaluation.eval_config import Subject
from lico_bench.metrics import Curve, Explainer, Metric, MetricInputs
from lico_bench.metrics.value_ranks import is_flat
from lico_bench.models import logits_of
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS, Protocol
from lico_bench.saliency import SaliencyMethod

DEGENERATE = "degenerate_map"
SKIPPED = "skipped_region"
UNDEFINED = "undefined"
MAP_SIDE_PX = 56  # longest side of a stored map
IMAGE_SIDE_PX = 128  # longest side of a stored image
# Of the stored curves, whatever the order of the metrics; curves of other names come last.
CURVE_ORDER = ("insertion", "deletion", "insertion_lerf", "deletion_lerf")

Identity = dict[str, Any]  # columns of a row that name the model and the image


@dataclass(frozen=True)
class Scores:
    """Rows of one or more models, with the curves and images behind them.

    Attributes:
        rows: one score of one image each, columns `records.ROW_COLUMNS`.
        curves: one curve of one image each, columns `records.CURVE_COLUMNS`.
        gallery: some images with their maps, both downscaled; only the row of an image's first
            map holds the image.
        undefined: requested metrics that need ground truth this dataset does not have.
    """

    rows: pd.DataFrame
    curves: pd.DataFrame
    gallery: pd.DataFrame
    undefined: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return `rows`."""
        return self.rows


@dataclass
class Collector:
    """Classify, explain and score the images of one subject, and keep the rows until `take`.

    Attributes:
        metrics: metrics by name; each is defined for the dataset.
        scorer: the network that scores the maps; the subject's model if None.
        predicted: (N,) int64, the class that the subject predicts; -1 for images not yet
            classified.
    """

    subject: Subject
    dataset: Dataset
    metrics: Mapping[str, Metric]
    protocol: Protocol
    scorer: nn.Module | None = None
    predicted: Tensor = field(init=False)
    _rows: list[pd.DataFrame] = field(default_factory=list)
    _curves: list[pd.DataFrame] = field(default_factory=list)
    _gallery: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.predicted = torch.full((len(self.dataset),), -1)
        self._model_columns = {
            "pair": self.subject.pair,
            "cell": self.subject.cell,
            "dataset": self.dataset.name,
            "source": self.dataset.source,
            "arm": self.subject.arm,
            "seed": self.subject.seed,
        }
        self._device = next(self.subject.model.parameters()).device

    def classify(self, indices: Tensor) -> None:
        """Add accuracy, confidence and Brier score of a batch."""
        with torch.inference_mode():
            logits = logits_of(self.subject.model(self._read(indices)))
            probs = logits.float().softmax(1).cpu()
        confidence, predicted = probs.max(dim=1)
        self.predicted[indices] = predicted
        labels = self.dataset.labels[indices]
        is_correct = (predicted == labels).float()
        # Brier score: sum over classes of (p - y)^2 with a one-hot label y.
        of_label = probs.gather(1, labels[:, None])[:, 0]
        brier = probs.square().sum(1) - 2 * of_label + 1
        identity = self._identity(indices, predicted)
        values = {"accuracy": is_correct, "confidence": confidence, "brier": brier}
        for metric, value in values.items():
            self._add(identity, method="", metric=metric, protocol="", value=value)

    def score(
        self, indices: Tensor, methods: Mapping[str, SaliencyMethod], is_shown: Sequence[bool]
    ) -> None:
        """Explain a batch with each method; add all metrics and the endpoints of the curves."""
        images = self._read(indices)
        is_predicted = self.protocol.explained_class == "predicted"
        targets = (self.predicted if is_predicted else self.dataset.labels)[indices]
        regions = self.dataset.read_regions(indices) if self.dataset.has_regions else None
        instances = self.dataset.read_instances(indices) if self.dataset.has_instances else None
        identity = self._identity(indices, targets)
        predicted = self._scored_class(images, indices)
        ends: dict[str, Tensor] = {}
        first = next(iter(methods))
        for name, method in methods.items():
            explainer: Explainer = method.maps
            if self.subject.layer is not None and method.needs_layer:
                explainer = partial(method.maps, layer=self.subject.layer)
            inputs = MetricInputs(
                model=self._logits,
                images=images,
                targets=targets.to(self._device),
                maps=explainer(self.subject.model, images, targets.to(self._device)),
                regions=None if regions is None else regions.to(self._device),
                protocol=self.protocol,
                network=self.subject.model,
                explainer=explainer,
                instances=instances,
                predicted=predicted,
                image_ids=tuple(identity["image_id"]),
                mean_rgb=self.dataset.mean,
            )
            curves = self._score(identity, name, inputs)
            ends = ends or _endpoints(curves)
            self._add_to_gallery(
                indices, name, images, inputs.maps, regions, is_shown, with_image=name == first
            )
        for metric, value in ends.items():
            self._add(identity, method="", metric=metric, protocol=self.protocol.id, value=value)

    def take(self, undefined: tuple[str, ...] = ()) -> Scores:
        """Return the scores collected since the last call and clear them."""
        curves = self._curves or [pd.DataFrame(columns=list(CURVE_COLUMNS))]
        scores = Scores(
            rows=pd.concat(self._rows, ignore_index=True),
            curves=pd.concat(curves, ignore_index=True),
            gallery=pd.DataFrame(self._gallery),
            undefined=undefined,
        )
        self._rows, self._curves, self._gallery = [], [], []
        return scores

    def _score(self, identity: Identity, method: str, inputs: MetricInputs) -> dict[str, Curve]:
        """Add all metrics and their curves; return the curves by name."""
        flat = is_flat(inputs.maps).cpu()
        curves: dict[str, Curve] = {}
        for name, metric in self.metrics.items():
            result = metric.apply(inputs)
            for curve in result.curves:
                known = curves.setdefault(curve.name, curve)
                if known.values is not curve.values and curve.name in CURVE_ORDER:
                    raise InvalidInputError(
                        f"metric '{name}': its curve '{curve.name}' has the name of the curve of "
                        "another metric; rename it"
                    )
                curves[curve.name] = curve
            value = result.values.float().cpu()
            self._add(
                identity,
                method=method,
                metric=name,
                protocol=metric.spec.protocol or self.protocol.id,
                value=value,
                flag=_flags(value, flat, inputs.regions, metric),
            )
        ordered = {name: curves[name] for name in (*CURVE_ORDER, *curves) if name in curves}
        for curve in ordered.values():
            frame = pd.DataFrame(
                {
                    **identity,
                    "method": method,
                    "protocol": self.protocol.id,
                    "curve": curve.name,
                    "fractions": [curve.fractions.numpy()] * len(flat),
                    "values": list(curve.values.cpu().float().numpy()),
                }
            )
            self._curves.append(frame[list(CURVE_COLUMNS)])
        return curves

    def _read(self, indices: Tensor) -> Tensor:
        images = self.dataset.read(indices).to(self._device)
        return images.contiguous(memory_format=torch.channels_last)

    def _scored_class(self, images: Tensor, indices: Tensor) -> Tensor:
        """The class that the scoring network predicts for each unchanged image."""
        if self.scorer is None or self.protocol.scored_class != "predicted":
            return self.predicted[indices].to(self._device)
        with torch.inference_mode():
            return self._logits(images).argmax(1)

    def _logits(self, images: Tensor) -> Tensor:
        return logits_of((self.scorer or self.subject.model)(images))

    def _identity(self, indices: Tensor, targets: Tensor) -> Identity:
        is_correct = self.predicted[indices] == self.dataset.labels[indices]
        return {
            **self._model_columns,
            "backbone": self.subject.backbone,
            "labels": self.subject.labels,
            "image_id": [self.dataset.image_ids[i] for i in indices.tolist()],
            "target": targets.numpy().astype(np.int32),
            "correct": is_correct.numpy(),
        }

    def _add(
        self, identity: Identity, *, method: str, metric: str, protocol: str, value: Tensor,
        flag: Sequence[str] | str = "",
    ) -> None:  # fmt: skip
        frame = pd.DataFrame(
            {
                **identity,
                "method": method,
                "metric": metric,
                "protocol": protocol,
                "value": value.numpy().astype(np.float64),
                "flag": flag,
            }
        )
        self._rows.append(frame[list(ROW_COLUMNS)])

    def _add_to_gallery(
        self, indices: Tensor, method: str, images: Tensor, maps: Tensor,
        regions: Tensor | None, is_shown: Sequence[bool], *, with_image: bool,
    ) -> None:  # fmt: skip
        """Add the maps of the gallery's images; only the first method's row holds the image."""
        names = self.dataset.class_names
        for row, index in enumerate(indices.tolist()):
            if not is_shown[row]:
                continue
            region = regions[row].float() if with_image and regions is not None else None
            self._gallery.append(
                {
                    **self._model_columns,
                    "image_id": self.dataset.image_ids[index],
                    "method": method,
                    "label_name": names[int(self.dataset.labels[index])],
                    "predicted_name": names[int(self.predicted[index])],
                    "correct": bool(self.predicted[index] == self.dataset.labels[index]),
                    "image_png": small_png(images[row]) if with_image else None,
                    "region_png": None if region is None else small_png(region),
                    **small_map(maps[row]),
                }
            )


def _endpoints(curves: Mapping[str, Curve]) -> dict[str, Tensor]:
    """Scores (N,) of the unchanged, blurred and deleted image, which are equal for all methods."""
    if not {"deletion", "insertion"} <= curves.keys():
        return {}
    deletion, insertion = curves["deletion"], curves["insertion"]
    scores = {"score_whole": deletion.values[:, 0], "score_blurred": insertion.values[:, 0]}
    if float(deletion.fractions[-1]) == 1:
        scores["score_emptied"] = deletion.values[:, -1]
    return scores


def _flags(value: Tensor, flat: Tensor, regions: Tensor | None, metric: Metric) -> list[str]:
    """Why each value is missing or unreliable; an empty string for a normal value."""
    is_empty = torch.zeros_like(flat)
    if regions is not None and "regions" in metric.spec.needs:
        is_empty = ~regions.flatten(1).any(1).cpu()
    is_missing = value.isnan()
    conditions = [case.numpy() for case in (is_missing & is_empty, is_missing, flat)]
    flags: list[str] = np.select(conditions, [SKIPPED, UNDEFINED, DEGENERATE], "").tolist()
    return flags


def small_map(saliency_map: Tensor) -> dict[str, object]:
    """Return the gallery columns of a map: its size, its range and its rescaled values.

    Args:
        saliency_map: (H, W) finite values of any range.

    Returns:
        `height`, `width`; `lowest` and `highest` value of the downscaled map; `map`,
        (height * width,) float16, rescaled to [0, 1] because gradients can exceed the range of
        float16 (6e-8 to 65504). A flat map is all zeros.
    """
    values = _downscaled(saliency_map[None].float(), MAP_SIDE_PX)[0].cpu().double().numpy()
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    height, width = values.shape
    return {
        "height": height,
        "width": width,
        "lowest": low,
        "highest": high,
        "map": scaled.ravel().astype(np.float16),
    }


def small_png(image: Tensor) -> bytes:
    """PNG bytes of (3, H, W) or (H, W) values in [0, 1]; large images are downscaled."""
    channels = image if image.ndim == 3 else image[None]
    small = _downscaled(channels.float(), IMAGE_SIDE_PX).cpu().clamp(0, 1)
    content = (small * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    stream = io.BytesIO()
    Image.fromarray(content if image.ndim == 3 else content[..., 0]).save(stream, format="PNG")
    return stream.getvalue()


def _downscaled(channels: Tensor, longest_px: int) -> Tensor:
    """Downscale (C, H, W) by area averaging to a longest side of at most `longest_px`."""
    height, width = channels.shape[1:]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return channels
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    return interpolate(channels[None], size=size, mode="area")[0]
