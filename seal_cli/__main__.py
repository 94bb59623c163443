"""`python -m seal_cli` is `seal`."""

from seal_cli.app import main

main()
