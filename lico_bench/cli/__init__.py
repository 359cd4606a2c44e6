"""Command-line interface; each command parses its options, makes one call and prints the result."""

from lico_bench.cli.app import app, main

__all__ = ["app", "main"]
