"""Suites with precision `auto`, and what it may mean on a machine."""

from __future__ import annotations

from dataclasses import replace

from lico_bench.bench import Suite
from lico_bench.runtime import NativePrecision

AUTO = {"precision": "auto"}
NO_BFLOAT16 = NativePrecision("float32", "this processor has no bfloat16 arithmetic")
HAS_BFLOAT16 = NativePrecision("bfloat16", "this processor has bfloat16 arithmetic")


def auto_suite(suite: Suite) -> Suite:
    return replace(suite, changes={**suite.changes, **AUTO})
