"""What each table of the paper shows, as far as anyone knows, and the names it uses.

The names hold for published numbers alone; what a run measured brings its own. Tests hold them
together with the registries and the cards, which this room may not open.
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
# Settings of LICO as `--set objective.NAME=VALUE` names them.
TOKENS = "num_context"


@dataclass(frozen=True)
class TableSpec:
    """What makes a table of the paper.

    Attributes:
        table: of the published numbers.
        by: what tells its rows apart, before who measured.
        across: what tells its columns of numbers apart: `metric`, `arm`.
        metrics, arms: that it shows.
        needs: arms; a run that trained none of them has nothing to say. Empty for any run.
        blocks: which of a run's blocks belong to it: any, those of all labels, of few labels, of
            the fine-grained data sets.
        per_dataset: whether each data set has a table of its own.
    """

    table: str
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
        """Whether LICO stands against its baseline, whoever's reading of LICO it is."""
        return self.arms == PAIR


FORMS = (
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

HEADS = MappingProxyType(
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


def _area(name: str, title: str, low: float, *, higher: bool) -> MetricSpec:
    return MetricSpec(name, title, higher, (low, 1.0), "probability", "")


SPECS = MappingProxyType(
    {
        "accuracy": MODEL_SCORES["accuracy"],
        "insertion": _area("insertion", "Insertion", 0.0, higher=True),
        "deletion": _area("deletion", "Deletion", 0.0, higher=False),
        "overall": _area("overall", "Overall", -1.0, higher=True),
        "pointing_game": MetricSpec(
            "pointing_game", "Pointing game", True, (0.0, 1.0), "share of hits", ""
        ),
    }
)


def spec_of(content: ReportContent, metric: str) -> MetricSpec:
    """What the run says of a metric, or, where it did not measure it, what it always is."""
    return content.specs.get(metric) or SPECS[metric]


def method_title(content: ReportContent, method: str) -> str:
    """The name of a method for people."""
    return METHODS.get(method) or content.method_title(method)


def dataset_title(content: ReportContent, dataset: str) -> str:
    """The name of a real data set for people."""
    facts = content.manifest.get("datasets", {}).get(dataset, {})
    return DATASETS.get(dataset) or str(facts.get("title") or dataset)
