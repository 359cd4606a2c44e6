"""Words to calls, nothing else: every command is a parse, one call, one print."""

from lico_bench.cli.app import app, main

__all__ = ["app", "main"]
