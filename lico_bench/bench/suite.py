"""The settings of one `run` and the defaults of each profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.metrics import PROTOCOLS
from lico_bench.records import Option, Protocol

DATASET_SETTINGS = ("seeds", "arms", "changes")
DataChoice = Literal["auto", "real", "standin", "official"]


@dataclass(frozen=True)
class Profile:
    """Default size of a suite.

    Attributes:
        seeds: trainings per arm.
        limit: images explained per model; None means all.
        methods: saliency methods, including one control.
    """

    summary: str
    seeds: int
    limit: int | None
    methods: tuple[str, ...] = ("grad_cam", "random_map")
    metrics: tuple[str, ...] = ("insertion", "deletion", "overall", "pointing_game")


PROFILES = MappingProxyType(
    {
        "smoke": Profile("seconds; for continuous integration", seeds=1, limit=16),
        "quick": Profile("minutes on two CPU cores", seeds=2, limit=128),
        "paper": Profile("the full recipe of the paper", seeds=5, limit=None),
    }
)


@dataclass(frozen=True)
class Suite:
    """All settings of a run; their hash identifies the run folder.

    Attributes:
        limit: images explained per model; None means all.
        data: `auto` uses real images if present and stand-ins otherwise; `official` plans for
            the publishers' complete datasets and cannot be run.
        changes: recipe fields set by the user, by name.
        objective: arm options set by the user, by name; each arm uses the options it has.
        as_published: ignore the objective options that dataset cards set for a profile.
        of_dataset: settings of single datasets, by dataset name: `seeds`, `arms` (a subset of
            the suite's arms), and `changes` (added to the suite's changes).
        scorer: `own`, or the arm whose network scores all maps of a pair; None uses the
            protocol's scorer.
    """

    datasets: tuple[str, ...]
    arms: tuple[str, ...] = ("baseline", "lico")
    seeds: int = 2
    profile: str = "quick"
    methods: tuple[str, ...] = ("grad_cam",)
    metrics: tuple[str, ...] = ("insertion", "deletion", "overall")
    protocol: str = "lico_bench_1"
    data: DataChoice = "auto"
    limit: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    objective: Mapping[str, Option] = field(default_factory=dict)
    scorer: str | None = None
    of_dataset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    as_published: bool = False

    def __post_init__(self) -> None:
        check_choice("data", self.data, get_args(DataChoice))
        check_count("seeds", self.seeds)
        if self.limit is not None:
            check_count("limit", self.limit)
        if self.profile not in PROFILES:
            raise UnknownNameError.of("profile", self.profile, PROFILES)
        if self.scorer is not None:
            check_choice("scorer", self.scorer, ("own", *self.arms))
        for name in ("datasets", "arms", "methods", "metrics"):
            values = getattr(self, name)
            if not values:
                raise InvalidInputError(f"{name}: expected at least one name, got none")
            if len(set(values)) < len(values):
                raise InvalidInputError(f"{name}: a name occurs twice in {', '.join(values)}")
        for name, settings in self.of_dataset.items():
            if name not in self.datasets:
                raise UnknownNameError.of("dataset of the suite", name, self.datasets)
            for key in settings:
                if key not in DATASET_SETTINGS:
                    raise UnknownNameError.of(f"setting of dataset {name}", key, DATASET_SETTINGS)
            check_count(f"seeds of {name}", self.seeds_of(name))
            for arm in settings.get("arms", ()):
                if arm not in self.arms:
                    raise UnknownNameError.of(f"arm of {name} (arms of the suite)", arm, self.arms)
            if not self.arms_of(name):
                raise InvalidInputError(f"arms of {name}: expected at least one name, got none")

    def seeds_of(self, dataset: str) -> int:
        """Return the number of trainings per arm on `dataset`."""
        return int(self.of_dataset.get(dataset, {}).get("seeds", self.seeds))

    def arms_of(self, dataset: str) -> tuple[str, ...]:
        """Return the arms trained on `dataset`, in the suite's order."""
        arms = self.of_dataset.get(dataset, {}).get("arms", self.arms)
        return tuple(arm for arm in self.arms if arm in arms)

    def changes_of(self, dataset: str) -> dict[str, Any]:
        """Return the recipe fields set by the user for `dataset`, by name."""
        return {**self.changes, **self.of_dataset.get(dataset, {}).get("changes", {})}

    def rules(self) -> Protocol:
        """Return the protocol of the perturbation curves with the suite's scoring network.

        Raises:
            UnknownNameError: for an unknown protocol.
            InvalidInputError: if the scorer is not among a dataset's arms.
        """
        protocol = PROTOCOLS[self.protocol]
        if self.scorer is not None:
            protocol = replace(protocol, scorer=self.scorer)
        for dataset in self.datasets:
            arms = self.arms_of(dataset)
            if protocol.scorer not in ("own", *arms):
                raise InvalidInputError(
                    f"protocol {protocol.name}: the network of arm '{protocol.scorer}' scores all "
                    f"maps, but it is not among the arms {', '.join(arms)} of {dataset}; "
                    "add this arm, or use --scorer own"
                )
        return protocol

    def only(self, *datasets: str) -> Suite:
        """Return this suite restricted to `datasets`."""
        settings = {name: self.of_dataset[name] for name in datasets if name in self.of_dataset}
        return replace(self, datasets=datasets, of_dataset=settings)

    def facts(self) -> dict[str, Any]:
        """Return this suite as plain JSON values."""
        facts = asdict(self)
        # Fields added later are omitted at their default, so that older suites keep their hash.
        if facts["scorer"] is None:
            del facts["scorer"]
        for name in ("of_dataset", "as_published"):
            if not facts[name]:
                del facts[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}
