"""What one `run` asks for, and what each profile means where nothing else was said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import InvalidInputError, UnknownNameError
from lico_bench.metrics import PROTOCOLS
from lico_bench.records import Option, Protocol

OF_DATASET = ("seeds", "arms", "changes")
DataChoice = Literal["auto", "real", "standin", "official"]


@dataclass(frozen=True)
class Profile:
    """Size of a suite.

    Attributes:
        seeds: trainings per arm.
        limit: images explained per model; None takes all.
        methods: saliency methods, one control among them.
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
    """Everything a run was asked to do. Its identity decides which folder it may write to.

    Attributes:
        data: `auto` takes real images where they are and stand-ins elsewhere; `official` plans
            for the publishers' complete sets, and cannot be run.
        changes: recipe fields set by hand, by name.
        objective: options of the arms set by hand, by name; each arm takes those it has.
        as_published: leave out what the cards set for the objectives of a profile.
        of_dataset: what is otherwise for one dataset, by its name: `seeds`, `arms` (some of those
            of the suite), and `changes` beside those of all.
        scorer: `own`, or the arm whose network scores all maps of a pair; None leaves it to the
            protocol.
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
        for name, own in self.of_dataset.items():
            if name not in self.datasets:
                raise UnknownNameError.of("dataset of the suite", name, self.datasets)
            for key in own:
                if key not in OF_DATASET:
                    raise UnknownNameError.of(f"setting of dataset {name}", key, OF_DATASET)
            check_count(f"seeds of {name}", self.seeds_of(name))
            for arm in own.get("arms", ()):
                if arm not in self.arms:
                    raise UnknownNameError.of(f"arm of {name} (arms of the suite)", arm, self.arms)
            if not self.arms_of(name):
                raise InvalidInputError(f"arms of {name}: expected at least one name, got none")

    def seeds_of(self, dataset: str) -> int:
        """Trainings per arm on `dataset`."""
        return int(self.of_dataset.get(dataset, {}).get("seeds", self.seeds))

    def arms_of(self, dataset: str) -> tuple[str, ...]:
        """Arms trained on `dataset`, in the order of the suite."""
        own = self.of_dataset.get(dataset, {}).get("arms", self.arms)
        return tuple(arm for arm in self.arms if arm in own)

    def changes_of(self, dataset: str) -> dict[str, Any]:
        """Recipe fields set by hand on `dataset`, by name."""
        return {**self.changes, **self.of_dataset.get(dataset, {}).get("changes", {})}

    def rules(self) -> Protocol:
        """The protocol of the curves, with the scoring network that the suite chose.

        Raises:
            UnknownNameError: for an unknown protocol.
            InvalidInputError: if the scoring network is none of a dataset's arms.
        """
        protocol = PROTOCOLS[self.protocol]
        if self.scorer is not None:
            protocol = replace(protocol, scorer=self.scorer)
        for dataset in self.datasets:
            arms = self.arms_of(dataset)
            if protocol.scorer not in ("own", *arms):
                raise InvalidInputError(
                    f"protocol {protocol.name}: the network of arm '{protocol.scorer}' scores all "
                    f"maps, and it is not among the arms {', '.join(arms)} of {dataset}; "
                    "add it, or choose --scorer own"
                )
        return protocol

    def only(self, *datasets: str) -> Suite:
        """This suite of fewer datasets."""
        own = {name: self.of_dataset[name] for name in datasets if name in self.of_dataset}
        return replace(self, datasets=datasets, of_dataset=own)

    def facts(self) -> dict[str, Any]:
        """This suite as plain JSON values."""
        facts = asdict(self)
        if facts["scorer"] is None:
            del facts["scorer"]  # a suite of before keeps its identity
        for name in ("of_dataset", "as_published"):
            if not facts[name]:
                del facts[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}
