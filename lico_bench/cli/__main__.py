"""Entry point of `python -m lico_bench.cli`."""

from lico_bench.cli import main

main()
