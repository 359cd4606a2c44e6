"""The records of a run folder: its manifest, and the JSON files of each cell.

A field of `optional` is missing in runs of some kind or of older versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from lico_bench.checks import Count, Name, Rule, Title, is_single_line
from lico_bench.errors import InvalidInputError
from lico_bench.records import DatasetFacts, MetricSpec, Option
from lico_bench.store.codec import Record, optional

Line = Annotated[str, Rule("text on one line", is_single_line)]
Lines = Annotated[str, Rule("a text", lambda value: isinstance(value, str))]
FileName = Annotated[
    str,
    Rule(
        "the name of a file of this folder",
        lambda value: is_single_line(value) and Path(value).name == value != "..",
    ),
]

Amount = Annotated[
    float,
    Rule(
        "a number of at least 0",
        lambda value: (
            isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        ),
    ),
]

# A record from another person must not lead out of the folder.
PathBelow = Annotated[
    str,
    Rule(
        "the path of a file below this folder",
        lambda value: (
            is_single_line(value)
            and not Path(value).is_absolute()
            and ".." not in Path(value).parts
        ),
    ),
]


TUNING_KIND = "tuning"  # of a suite


@dataclass(frozen=True, kw_only=True)
class ArmSettings(Record):
    """Settings of one arm in a suite, see `bench.Suite.of_arm`."""

    changes: Mapping[str, object] | None = optional()
    objective: Mapping[str, Option] | None = optional()


@dataclass(frozen=True, kw_only=True)
class DatasetSettings(Record):
    """Settings of one dataset in a suite, see `bench.Suite.of_dataset`."""

    seeds: Count | None = optional()
    arms: tuple[Name, ...] | None = optional()
    changes: Mapping[str, object] | None = optional()
    of_arm: Mapping[Name, ArmSettings] = optional(dict)


@dataclass(frozen=True, kw_only=True)
class SuiteRecord(Record):
    """The settings of a run, see `bench.Suite`.

    Attributes:
        name: default name of the run folder.
        kind: `own_models` for scores of user models, `tuning` for trials of settings, empty for
            trained models.
    """

    name: Name = optional("")
    kind: str = optional("")
    profile: str = optional("")
    datasets: tuple[Name, ...] = ()
    arms: tuple[Name, ...] = ()
    seeds: Count = 1
    methods: tuple[Name, ...] = ()
    metrics: tuple[Name, ...] = ()
    protocol: Name = optional("")
    data: Literal["auto", "real", "standin", "official"] | None = optional()
    limit: Count | None = None
    changes: Mapping[str, object] | None = optional()
    objective: Mapping[str, Option] | None = optional()
    scorer: Name | None = optional()
    as_published: bool = optional(False)
    of_dataset: Mapping[Name, DatasetSettings] = optional(dict)
    of_arm: Mapping[Name, ArmSettings] = optional(dict)


@dataclass(frozen=True, kw_only=True)
class CellRecipe(Record):
    """The recipe of a training, see `records.Recipe`, or the origin of a user's model.

    Attributes:
        backbone, source, labels, precision, objective: not of a user's model.
    """

    dataset: Name
    arm: Name
    seed: Count
    backbone: Name = optional("")
    source: str = optional("")
    labels: int | str = optional("")
    precision: str = optional("")
    objective: tuple[tuple[str, Option], ...] | None = optional()


@dataclass(frozen=True, kw_only=True)
class CellEntry(Record):
    """A cell in the manifest; `recipe.json` in its folder is a copy.

    Attributes:
        options: all options of the objective; None for a user's model.
        encoder: identity of the text encoder; None if the arm uses none.
    """

    key: Name
    recipe: CellRecipe
    pair: Name | None = optional()
    options: Mapping[str, object] | None = optional()
    encoder: Mapping[str, object] | None = optional(dict)


@dataclass(frozen=True, kw_only=True)
class ArmRecord(Record):
    """Description of an arm, see `training.Arm`, or of a user's model."""

    title: Title = optional("")
    summary: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class MethodRecord(Record):
    """Description of a saliency method, see `saliency.SaliencyMethod`."""

    title: Title = optional("")
    source: str = ""
    is_control: bool = False


@dataclass(frozen=True, kw_only=True)
class Manifest(Record):
    """What a run folder holds: suite, cells, data found, definitions and versions.

    Attributes:
        suite_key: hash of the suite, its cells and its protocol.
        protocols: rules by protocol id.
        versions: of the packages, by name.
        started: date and time, ISO 8601.
        left_out: what a published copy lacks; empty in a run.
    """

    suite_key: Name
    suite: SuiteRecord
    cells: tuple[CellEntry, ...]
    datasets: Mapping[Name, DatasetFacts] = field(default_factory=dict)
    metrics: Mapping[Name, MetricSpec] = field(default_factory=dict)
    methods: Mapping[Name, MethodRecord] = field(default_factory=dict)
    arms: Mapping[Name, ArmRecord] = field(default_factory=dict)
    protocols: Mapping[Name, Mapping[str, object]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    left_out: tuple[Name, ...] = optional(())

    def arm_title(self, arm: str) -> str:
        """Return the display name of an arm."""
        return (self.arms[arm].title if arm in self.arms else "") or arm

    def method_title(self, method: str) -> str:
        """Return the display name of a method."""
        return (self.methods[method].title if method in self.methods else "") or method

    def is_control(self, method: str) -> bool:
        """Return whether a method ignores the model."""
        return method in self.methods and self.methods[method].is_control


def refuse_trials(manifest: Manifest, path: object) -> None:
    """Raise InvalidInputError for the run of a tuning, whose trials are no arms to compare."""
    if manifest.suite.kind == TUNING_KIND:
        raise InvalidInputError(
            f"{path} holds the trials of `lico-bench tune`; its folder tuning/ has their table and "
            "plots, and the suites of the picks for `lico-bench run --suite`"
        )


@dataclass(frozen=True)
class FileFacts:
    """Checksum and size of a file."""

    sha256: str
    bytes: Count


@dataclass(frozen=True)
class InferenceCost:
    """Cost of a forward pass of one image."""

    parameters: Count
    gigaflop: Amount


@dataclass(frozen=True, kw_only=True)
class CellRecord(Record):
    """The record of a finished cell, `done.json`.

    Attributes:
        rows: number of rows.
        undefined_metrics: requested metrics without ground truth.
        elapsed_s: duration of the scoring.
        files: of every file of the cell; None in runs of the first versions.
    """

    key: Name | None = optional()
    suite_key: str | None = optional()
    rows: Count | None = optional()
    undefined_metrics: tuple[Name, ...] = ()
    inference: InferenceCost | None = optional()
    elapsed_s: Amount | None = optional()
    device: str | None = optional()
    processes: Count | None = optional()
    files: Mapping[FileName, FileFacts] | None = optional()


@dataclass(frozen=True, kw_only=True)
class Failure(Record):
    """Why the last attempt at a cell failed, `failed.json`.

    Attributes:
        stage: `training` or `scoring`.
        sentence: for the user.
        error: name of the exception's class.
        when: date and time, ISO 8601.
    """

    stage: Line
    sentence: Line
    error: str = ""
    traceback: Lines = ""
    when: str = ""


@dataclass(frozen=True)
class ContextWord:
    """A word of the vocabulary near a learned context vector, and their cosine."""

    word: str
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Findings(Record):
    """What an objective reports after its training, `findings.json`.

    Attributes:
        context_words: for each learned context vector, the nearest words.
    """

    context_words: tuple[tuple[ContextWord, ...], ...] = optional(())


@dataclass(frozen=True)
class ReportRecord:
    """What a report was made of, `made_of.json`.

    Attributes:
        manifest: digest of the manifest.
        cells: digest of the record of each finished or failed cell.
        files: of every file of the report, by its path below the report.
    """

    manifest: str
    cells: Mapping[Name, str]
    files: Mapping[PathBelow, FileFacts]
