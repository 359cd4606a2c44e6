"""Structure of the paper's tables, as far as known, and display names for published values.

Values of a run bring their own names. This package must not import the registries and dataset
cards; tests check that the names agree with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from lico_bench.records import MetricSpec
from lico_bench.report.content import ReportContent
from lico_bench.stats import MODEL_SCORES

AREAS = ("insertion", "deletion", "overall")
PAIR = ("baseline", "lico")
# Option of LICO, as in `--set objective.NAME=VALUE`.
TOKENS = "num_context"


@dataclass(frozen=True)
class TableSpec:
    """Structure of a table of the paper.

    Attributes:
        name: value of the `table` column of the published values.
        by: keys that identify a row, besides the source.
        across: keys that identify a column of values: `metric`, `arm`.
        metrics, arms: the metrics and arms shown.
        needs: the run must have trained at least one of these arms; empty for any run.
        blocks: blocks of a run that belong to the table: all, those with all labels, with few
            labels, or of the fine-grained datasets.
        per_dataset: whether each dataset has a separate table.
    """

    name: str
    title: str
    caption: str
    by: tuple[str, ...]
    across: tuple[str, ...]
    metrics: tuple[str, ...]
    arms: tuple[str, ...] = PAIR
    needs: tuple[str, ...] = ()
    blocks: Literal["any", "all_labels", "few_labels", "fine_grained"] = "any"
    per_dataset: bool = False

    @property
    def is_pair(self) -> bool:
        """Whether the table compares LICO (any variant) with the baseline."""
        return self.arms == PAIR


TABLE_SPECS = (
    TableSpec(
        "insertion_deletion", "Insertion and deletion",
        "Areas under the curves by saliency method", ("method",), ("metric", "arm"), AREAS,
        per_dataset=True,
    ),
    TableSpec(
        "pointing_game", "Pointing game", "Share of maps whose peak lies on the object",
        ("dataset", "method", "metric"), ("arm",), ("pointing_game", "pointing_game_15px"),
    ),
    TableSpec(
        "accuracy", "Accuracy, all labels", "Top-1 accuracy", ("dataset",), ("arm",),
        ("accuracy",), blocks="all_labels",
    ),
    TableSpec(
        "limited_labels", "Accuracy, few labels", "Top-1 accuracy by number of labels",
        ("dataset", "labels"), ("arm",), ("accuracy",), blocks="few_labels",
    ),
    TableSpec(
        "fine_grained", "Accuracy, fine-grained sets", "Top-1 accuracy", ("dataset",), ("arm",),
        ("accuracy",), blocks="fine_grained",
    ),
    TableSpec(
        "ablation", "Ablation of the loss terms", "Each term alone and both together",
        ("dataset", "method", "metric"), ("arm",), ("accuracy", *AREAS),
        ("baseline", "lico_mm", "lico_ot", "lico"), needs=("lico_mm", "lico_ot"),
    ),
    TableSpec(
        "tokens", "Number of context tokens",
        "LICO by the number of learnable context tokens, areas of Grad-CAM",
        ("dataset", "setting"), ("metric",), ("accuracy", *AREAS), ("lico",), needs=("lico",),
    ),
)  # fmt: skip

HEADERS = MappingProxyType(
    {
        "dataset": "Data set", "labels": "Labels", "method": "Method", "metric": "Score",
        "setting": "Tokens",
    }
)  # fmt: skip
ARMS = MappingProxyType(
    {"baseline": "Baseline", "lico": "LICO", "lico_mm": "MM only", "lico_ot": "OT only"}
)
METHODS = MappingProxyType(
    {
        "": "Model", "grad_cam": "Grad-CAM", "grad_cam_plus_plus": "Grad-CAM++",
        "group_cam": "Group-CAM", "rise": "RISE", "score_cam": "Score-CAM",
    }
)  # fmt: skip
DATASETS = MappingProxyType(
    {
        "imagenet": "ImageNet-1k", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN",
        "cub200": "CUB-200-2011", "cars": "Stanford Cars", "aircraft": "FGVC-Aircraft",
        "flowers": "Flowers-102", "imagenette": "Imagenette", "coco2017": "COCO 2017",
    }
)  # fmt: skip


def _area_spec(name: str, title: str, low: float, *, higher: bool) -> MetricSpec:
    return MetricSpec(name, title, higher, (low, 1.0), "probability", "")


SPECS = MappingProxyType(
    {
        "accuracy": MODEL_SCORES["accuracy"],
        "insertion": _area_spec("insertion", "Insertion", 0.0, higher=True),
        "deletion": _area_spec("deletion", "Deletion", 0.0, higher=False),
        "overall": _area_spec("overall", "Overall", -1.0, higher=True),
        "pointing_game": MetricSpec(
            "pointing_game", "Pointing game", True, (0.0, 1.0), "share of hits", ""
        ),
    }
)


def spec_of(content: ReportContent, metric: str) -> MetricSpec:
    """Return the spec of a metric from the run, or the default spec if it was not measured."""
    return content.specs.get(metric) or SPECS[metric]


def method_title(content: ReportContent, method: str) -> str:
    """Return the display name of a method."""
    return METHODS.get(method) or content.method_title(method)


def dataset_title(content: ReportContent, dataset: str) -> str:
    """Return the display name of a real dataset."""
    facts = content.manifest.datasets.get(dataset)
    return DATASETS.get(dataset) or (dataset if facts is None else facts.title)
