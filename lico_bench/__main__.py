"""Entry point of `python -m lico_bench`."""

from lico_bench.cli import main

main()
