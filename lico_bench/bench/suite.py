"""The settings of one `run`, the defaults of each profile, and suites in TOML files.

A file has the names of the options; settings that it does not name have their defaults:

    datasets = ["cifar10", "flowers"]
    arms = ["baseline", "lico"]
    seeds = 3
    methods = ["grad_cam", "rise(num_masks=100)", "random_map"]

    [recipe]
    epochs = 10

    [objective]
    alpha = 10.0

    [dataset.cifar10]
    seeds = 5
    recipe = { epochs = 20 }

    [dataset.flowers]
    arms = ["baseline"]

    [arm.lico]
    recipe = { learning_rate = 0.1 }
    objective = { beta = 0.1 }
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from lico_bench.checks import check_choice, check_count
from lico_bench.errors import BrokenFileError, InvalidInputError, LicoBenchError, UnknownNameError
from lico_bench.metrics import PROTOCOLS
from lico_bench.records import Option, Protocol

DATASET_SETTINGS = ("seeds", "arms", "changes", "of_arm")
ARM_SETTINGS = ("changes", "objective")
DataChoice = Literal["auto", "real", "standin", "official"]
# A suite file uses the names of the option `--set recipe.NAME=VALUE`.
FIELD_OF_KEY = {"recipe": "changes", "dataset": "of_dataset", "arm": "of_arm"}
KEY_OF_FIELD = {field: key for key, field in FIELD_OF_KEY.items()}
LISTS = ("datasets", "arms", "methods", "metrics")
NUMBERS = ("seeds", "limit")
TABLES = ("recipe", "objective", "dataset", "arm")
ARMS = ("baseline", "lico")


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
            the suite's arms), `changes` (added to the suite's changes) and `of_arm`.
        of_arm: settings of single arms, by arm name: `changes` of the `records.ARM_FIELDS` and
            options of the `objective`. They take precedence over all other settings.
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
    of_arm: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
                    known = _keys(DATASET_SETTINGS)
                    raise UnknownNameError.of(f"setting of dataset {name}", key, known)
            check_count(f"seeds of {name}", self.seeds_of(name))
            for arm in settings.get("arms", ()):
                if arm not in self.arms:
                    raise UnknownNameError.of(f"arm of {name} (arms of the suite)", arm, self.arms)
            if not self.arms_of(name):
                raise InvalidInputError(f"arms of {name}: expected at least one name, got none")
            _check_arms(settings.get("of_arm", {}), self.arms)
        _check_arms(self.of_arm, self.arms)

    def seeds_of(self, dataset: str) -> int:
        """Return the number of trainings per arm on `dataset`."""
        return int(self.of_dataset.get(dataset, {}).get("seeds", self.seeds))

    def arms_of(self, dataset: str) -> tuple[str, ...]:
        """Return the arms trained on `dataset`, in the suite's order."""
        arms = self.of_dataset.get(dataset, {}).get("arms", self.arms)
        return tuple(arm for arm in self.arms if arm in arms)

    def settings_of_arm(self, arm: str, dataset: str) -> tuple[dict[str, Any], dict[str, Option]]:
        """Return the recipe fields and the objective options that only `arm` has, by name."""
        of_dataset = self.of_dataset.get(dataset, {}).get("of_arm", {})
        levels = [settings.get(arm, {}) for settings in (self.of_arm, of_dataset)]
        changes = {n: v for level in levels for n, v in level.get("changes", {}).items()}
        options = {n: v for level in levels for n, v in level.get("objective", {}).items()}
        return changes, options

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
        for name in ("of_dataset", "as_published", "of_arm"):
            if not facts[name]:
                del facts[name]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in facts.items()}


def _keys(fields: Iterable[str]) -> list[str]:
    """Return the names of fields as they are in a file."""
    return [KEY_OF_FIELD.get(name, name) for name in fields]


def suite_toml(suite: Suite) -> str:
    """Return the suite as TOML; `read_suite` reads an equal suite from it."""
    facts = {KEY_OF_FIELD.get(n, n): v for n, v in suite.facts().items() if v not in (None, {})}
    return "\n".join(_toml_lines(facts, "")) + "\n"


def _toml_lines(table: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the lines of a table: its values, then its tables of tables under their headers."""
    named = {KEY_OF_FIELD.get(name, name): value for name, value in table.items()}
    nested = [
        name
        for name, value in named.items()
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())
    ]
    values = [name for name in named if name not in nested]
    if path and values:
        yield f"\n[{path}]"
    yield from (f"{_toml_key(name)} = {_toml(named[name])}" for name in values)
    for name in nested:
        yield from _toml_lines(named[name], f"{path}.{_toml_key(name)}".removeprefix("."))


def _toml(value: Any) -> str:
    """Return a value as TOML, which has the strings, numbers and lists of JSON, and tables."""
    if isinstance(value, Mapping):
        items = (f"{_toml_key(n)} = {_toml(v)}" for n, v in value.items())
        return f"{{ {', '.join(items)} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _toml_key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _check_arms(of_arm: Mapping[str, Mapping[str, Any]], arms: Collection[str]) -> None:
    for name, settings in of_arm.items():
        if name not in arms:
            raise UnknownNameError.of("arm of the suite", name, arms)
        for key in settings:
            if key not in ARM_SETTINGS:
                raise UnknownNameError.of(f"setting of arm {name}", key, _keys(ARM_SETTINGS))


def read_suite(path: Path) -> Suite:
    """Read the suite in the file at `path`.

    Raises:
        InvalidInputError: if the file is missing, or a value has another type than expected.
        BrokenFileError: if the file is not valid TOML.
        UnknownNameError: for an unknown key.
    """
    declared = read_toml(path, "--suite")
    try:
        return suite_of(declared)
    except LicoBenchError as error:
        raise type(error)(f"{path}: {error}") from error


def read_toml(path: Path, option: str) -> dict[str, Any]:
    """Read the TOML file that the user gave as `option`; raises as `read_suite`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"{option} {path}: cannot be read ({error.strerror}); correct the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BrokenFileError(f"{path}: not TOML ({error}); correct the file") from error


def suite_of(declared: Mapping[str, Any]) -> Suite:
    """Return the suite that a TOML file declares; raises as `read_suite`."""
    names = {field.name for field in fields(Suite)} - set(FIELD_OF_KEY.values()) | set(FIELD_OF_KEY)
    for name, value in declared.items():
        if name not in names:
            raise UnknownNameError.of("setting", name, names)
        _check_type(name, value)
    check_choice("profile", str(declared.get("profile", "quick")), tuple(PROFILES))
    profile = PROFILES[str(declared.get("profile", "quick"))]
    values: dict[str, Any] = {
        "arms": ARMS, "seeds": profile.seeds, "limit": profile.limit, "methods": profile.methods,
        "metrics": profile.metrics,
    }  # fmt: skip
    values |= {FIELD_OF_KEY.get(name, name): value for name, value in declared.items()}
    if "datasets" not in values:
        raise InvalidInputError("datasets: expected a list of names, got none")
    values |= {name: tuple(values[name]) for name in LISTS}
    values["of_dataset"] = {
        name: _dataset_settings(settings) for name, settings in values.get("of_dataset", {}).items()
    }
    values["of_arm"] = _arm_settings_of(values.get("of_arm", {}))
    return Suite(**values)


def _arm_settings_of(of_arm: Any) -> dict[str, dict[str, Any]]:
    _check_type("arm", of_arm)
    for settings in of_arm.values():
        _check_type("arm", settings)
        for name in ("recipe", "objective"):
            _check_type(name, settings.get(name, {}))
    return {
        arm: {FIELD_OF_KEY.get(name, name): value for name, value in settings.items()}
        for arm, settings in of_arm.items()
    }


def _dataset_settings(settings: Any) -> dict[str, Any]:
    _check_type("recipe", settings)
    _check_type("recipe", settings.get("recipe", {}))
    for name in ("seeds", "arms"):
        if name in settings:
            _check_type(name, settings[name])
    values = {FIELD_OF_KEY.get(name, name): value for name, value in settings.items()}
    if "of_arm" in values:
        values["of_arm"] = _arm_settings_of(values["of_arm"])
    return values


def _check_type(name: str, value: Any) -> None:
    if name in LISTS:
        is_valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
        expected = 'a list of names such as ["cifar10"]'
    elif name in NUMBERS:
        is_valid, expected = type(value) is int, "a whole number"
    elif name == "as_published":
        is_valid, expected = isinstance(value, bool), "true or false"
    elif name in TABLES:
        is_valid, expected = isinstance(value, dict), "a table"
    else:
        is_valid, expected = isinstance(value, str), "a string"
    if not is_valid:
        raise InvalidInputError(f"{name}: expected {expected}, got {value!r}")
