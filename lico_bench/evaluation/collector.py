"""Collects the rows, curves and pictures of one model, batch by batch."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from lico_bench.data import Dataset
from lico_bench.evaluation.subject import Subject
from lico_bench.metrics import Curves, Evidence, resolve_metric
from lico_bench.models import logits_of
from lico_bench.records import CURVE_COLUMNS, ROW_COLUMNS, Protocol
from lico_bench.saliency import explain

DEGENERATE = "degenerate_map"
SKIPPED = "skipped_region"


@dataclass(frozen=True)
class Scores:
    """Rows of one or more models, with the curves and pictures behind them.

    Attributes:
        rows: one score of one picture each, columns `records.ROW_COLUMNS`.
        curves: one curve of one picture each, columns `records.CURVE_COLUMNS`.
        gallery: a few pictures with their maps.
        undefined: metrics asked for that this dataset has no ground truth for.
    """

    rows: pd.DataFrame
    curves: pd.DataFrame
    gallery: pd.DataFrame
    undefined: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """The rows."""
        return self.rows


@dataclass
class Collector:
    """Collects the rows of one subject, batch by batch."""

    subject: Subject
    dataset: Dataset
    metrics: tuple[str, ...]
    protocol: Protocol
    rows: list[pd.DataFrame] = field(default_factory=list)
    curves: list[pd.DataFrame] = field(default_factory=list)
    gallery: list[dict[str, Any]] = field(default_factory=list)
    predicted: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.predicted = torch.full((len(self.dataset),), -1)
        self._device = next(self.subject.model.parameters()).device

    def classify(self, indices: Tensor) -> None:
        """Accuracy and confidence of a batch."""
        images = self._read(indices)
        with torch.inference_mode():
            probs = logits_of(self.subject.model(images)).float().softmax(1).cpu()
        confidence, predicted = probs.max(dim=1)
        self.predicted[indices] = predicted
        right = (predicted == self.dataset.labels[indices]).float()
        for metric, value in (("accuracy", right), ("confidence", confidence)):
            self._add(
                indices, targets=predicted, method="", metric=metric, protocol="", value=value
            )

    def score(self, indices: Tensor, method: str, is_shown: Sequence[bool]) -> None:
        """Maps of a batch by one method, and every metric of them."""
        images = self._read(indices)
        targets = self._targets(indices)
        maps = explain(self.subject.model, images, targets.to(self._device), method=method)
        regions = self.dataset.read_regions(indices) if self.dataset.has_regions else None
        evidence = Evidence(
            self._logits, images, targets.to(self._device), maps, regions, self.protocol
        )
        flat = maps.flatten(1)
        degenerate = (flat.amax(1) == flat.amin(1)).cpu()
        for metric in self.metrics:
            entry = resolve_metric(metric)
            value = entry.compute(evidence).float().cpu()
            self._add(
                indices,
                targets=targets,
                method=method,
                metric=metric,
                protocol=entry.spec.protocol or self.protocol.id,
                value=value,
                flag=_flags(value, degenerate),
            )
        if "curves" in evidence.__dict__:
            self._add_curves(indices, targets, method, evidence.curves)
        self._add_to_gallery(indices, method, images, maps, regions, is_shown)

    def scores(self, undefined: tuple[str, ...]) -> Scores:
        """All that was collected."""
        curves = self.curves or [pd.DataFrame(columns=list(CURVE_COLUMNS))]
        return Scores(
            rows=pd.concat(self.rows, ignore_index=True),
            curves=pd.concat(curves, ignore_index=True),
            gallery=pd.DataFrame(self.gallery),
            undefined=undefined,
        )

    def _read(self, indices: Tensor) -> Tensor:
        images = self.dataset.read(indices).to(self._device)
        return images.contiguous(memory_format=torch.channels_last)

    def _targets(self, indices: Tensor) -> Tensor:
        if self.protocol.explained_class == "predicted":
            return self.predicted[indices]
        return self.dataset.labels[indices]

    def _logits(self, images: Tensor) -> Tensor:
        return logits_of(self.subject.model(images))

    def _identity(self, indices: Tensor, targets: Tensor) -> dict[str, Any]:
        right = self.predicted[indices] == self.dataset.labels[indices]
        return {
            "pair": self.subject.pair,
            "cell": self.subject.cell,
            "dataset": self.dataset.name,
            "source": self.dataset.source,
            "backbone": self.subject.backbone,
            "arm": self.subject.arm,
            "seed": self.subject.seed,
            "labels": self.subject.labels,
            "image_id": [self.dataset.image_ids[i] for i in indices.tolist()],
            "target": targets.numpy().astype(np.int32),
            "correct": right.numpy(),
        }

    def _add(
        self, indices: Tensor, *, targets: Tensor, method: str, metric: str, protocol: str,
        value: Tensor, flag: Sequence[str] | str = "",
    ) -> None:  # fmt: skip
        frame = pd.DataFrame(
            {
                **self._identity(indices, targets),
                "method": method,
                "metric": metric,
                "protocol": protocol,
                "value": value.numpy().astype(np.float64),
                "flag": flag,
            }
        )
        self.rows.append(frame[list(ROW_COLUMNS)])

    def _add_curves(self, indices: Tensor, targets: Tensor, method: str, curves: Curves) -> None:
        fractions = curves.fractions.numpy()
        for name, values in (("insertion", curves.insertion), ("deletion", curves.deletion)):
            frame = pd.DataFrame(
                {
                    **self._identity(indices, targets),
                    "method": method,
                    "protocol": self.protocol.id,
                    "curve": name,
                    "fractions": [fractions] * len(indices),
                    "values": list(values.numpy()),
                }
            )
            self.curves.append(frame[list(CURVE_COLUMNS)])

    def _add_to_gallery(
        self, indices: Tensor, method: str, images: Tensor, maps: Tensor,
        regions: Tensor | None, is_shown: Sequence[bool],
    ) -> None:  # fmt: skip
        names = self.dataset.class_names
        for row, index in enumerate(indices.tolist()):
            if not is_shown[row]:
                continue
            height, width = maps.shape[1:]
            self.gallery.append(
                {
                    "pair": self.subject.pair,
                    "cell": self.subject.cell,
                    "dataset": self.dataset.name,
                    "source": self.dataset.source,
                    "arm": self.subject.arm,
                    "seed": self.subject.seed,
                    "image_id": self.dataset.image_ids[index],
                    "method": method,
                    "label_name": names[int(self.dataset.labels[index])],
                    "predicted_name": names[int(self.predicted[index])],
                    "correct": bool(self.predicted[index] == self.dataset.labels[index]),
                    "height": height,
                    "width": width,
                    "image_png": _png(images[row].permute(1, 2, 0)),
                    "map": maps[row].cpu().flatten().numpy(),
                    "region_png": None if regions is None else _png(regions[row].float()),
                }
            )


def _flags(value: Tensor, degenerate: Tensor) -> list[str]:
    return [
        SKIPPED if skipped else DEGENERATE if flat else ""
        for skipped, flat in zip(value.isnan().tolist(), degenerate.tolist(), strict=True)
    ]


def _png(picture: Tensor) -> bytes:
    """PNG bytes of (H, W, 3) or (H, W) values in [0, 1]."""
    stream = io.BytesIO()
    content = (picture.cpu().clamp(0, 1) * 255).round().byte().contiguous().numpy()
    Image.fromarray(content).save(stream, format="PNG")
    return stream.getvalue()
