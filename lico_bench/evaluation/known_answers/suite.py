"""Run the known-answer checks on all or selected metrics and methods."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lico_bench.checks import check_choice
from lico_bench.errors import InvalidInputError, MissingDataError, UnknownNameError
from lico_bench.evaluation.known_answers.cases import (
    NUM_IMAGES,
    NUM_IMAGES_QUICK,
    TRAINING_SPECS,
    Scene,
    load_scene,
)
from lico_bench.evaluation.known_answers.finding import Finding, reason_for
from lico_bench.evaluation.known_answers.method_checks import method_findings
from lico_bench.evaluation.known_answers.metric_checks import metric_findings, ranks_maps
from lico_bench.metrics import METRICS, resolve_metric
from lico_bench.registry import parse_call
from lico_bench.saliency import SALIENCY, resolve_method

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SelfCheck:
    """Findings and the scenes they were measured on.

    Attributes:
        accuracy: accuracy of the scenes' network on unseen scenes.
        num_images: number of scenes explained.
    """

    findings: tuple[Finding, ...]
    variant: str
    accuracy: float
    num_images: int

    @property
    def passed(self) -> bool:
        """Whether no check failed without a declared reason."""
        return all(finding.verdict != "FAIL" for finding in self.findings)


def self_check(
    names: Sequence[str] = (),
    *,
    variant: str = "planted_cue",
    quick: bool = False,
    seed: int = 0,
    progress: Progress = lambda _name, _done, _total: None,
) -> SelfCheck:
    """Run the known-answer checks on metrics and methods.

    Args:
        names: metrics and methods, by name or call with options; all registered ones if empty.
        variant: variant of the scenes, `planted_cue` or `plain`.
        quick: use fewer scenes.
        seed: seed of the scenes' network and of all random draws.
        progress: called with (name, entries done, total entries).

    Raises:
        UnknownNameError: for a name that is neither a metric nor a method.
        TrainingError: if the accuracy of the scenes' network is too low.
    """
    check_choice("scenes", variant, tuple(TRAINING_SPECS))
    requested = tuple(names) or (*METRICS, *SALIENCY)
    for name in requested:
        _check_name(name)
    progress("training a network on scenes", 0, len(requested))
    scene = load_scene(variant, seed=seed, num_images=NUM_IMAGES_QUICK if quick else NUM_IMAGES)
    findings: list[Finding] = []
    for done, name in enumerate(requested):
        progress(name, done, len(requested))
        findings += findings_of(name, scene, is_alone=bool(names))
    return SelfCheck(tuple(findings), variant, scene.accuracy, len(scene))


def findings_of(name: str, scene: Scene, *, is_alone: bool = True) -> list[Finding]:
    """Return the findings of one entry; an error that it raises becomes a finding.

    Args:
        is_alone: also score a method with all metrics that rank maps. In a full run the checks of
            the metrics cover this.
    """
    bare = parse_call(name)[0]
    if bare in METRICS:
        subject = resolve_metric(name).spec.name
        methods = [m for m in SALIENCY if not SALIENCY[m].is_control]
        check = metric_findings(name, scene, methods)
    else:
        subject = name
        metrics = [m for m in METRICS if ranks_maps(m)] if is_alone else []
        check = method_findings(name, scene, metrics)
    findings: list[Finding] = []
    try:
        for finding in check:  # keeps the findings before an error
            findings.append(finding)  # noqa: PERF402
    except Exception as error:  # an entry may raise anything
        message = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        findings.append(Finding("runs", math.nan, 0.0, is_floor=True, detail=message))
    return [
        replace(finding, subject=subject, reason=finding.reason or reason_for(bare, finding.check))
        for finding in findings
    ]


def load_entries(path: Path) -> tuple[str, ...]:
    """Import a file that registers metrics or methods; return the names that it added.

    Raises:
        MissingDataError: if the file does not exist.
        InvalidInputError: if it cannot be imported or registers nothing.
    """
    if not path.is_file():
        raise MissingDataError(f"--load {path}: no such file; name a Python file")
    before = {*METRICS, *SALIENCY}
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidInputError(f"--load {path}: expected a Python file, NAME.py")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise InvalidInputError(
            f"--load {path}: importing it raised {type(error).__name__}: {error}"
        ) from error
    added = tuple(n for n in (*METRICS, *SALIENCY) if n not in before)
    if not added:
        raise InvalidInputError(
            f"--load {path}: expected a file that registers a metric or method, got none; "
            "decorate a function with add_metric or add_method"
        )
    return added


def _check_name(name: str) -> None:
    bare = parse_call(name)[0]
    if bare in METRICS:
        resolve_metric(name)
    elif bare in SALIENCY:
        resolve_method(name)
    else:
        raise UnknownNameError.of("metric or method", bare, (*METRICS, *SALIENCY))
