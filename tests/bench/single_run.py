"""A run of one tiny model, and a reporter that keeps its notes."""

from __future__ import annotations

from pathlib import Path

from lico_bench.bench import ExecutorOptions, Suite, execute, make_plan


class SilentReporter:
    """Hears everything and keeps what must be known."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def __getattr__(self, _name: str):
        return lambda *_args, **_words: None


def tiny_suite() -> Suite:
    return Suite(
        ("cifar10",), arms=("baseline",), seeds=1, profile="smoke", data="standin", limit=4,
        methods=("grad_cam", "random_map"), metrics=("insertion", "pointing_game"),
        changes={"epochs": 1, "train_limit": 32, "batch_size": 32, "backbone": "wrn_10_1"},
    )  # fmt: skip


def execute_tiny(out: Path) -> SilentReporter:
    reporter = SilentReporter()
    execute(make_plan(tiny_suite()), out, options=ExecutorOptions(device="cpu"), reporter=reporter)
    return reporter
