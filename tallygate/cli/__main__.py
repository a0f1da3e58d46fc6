"""`python -m tallygate.cli` is `tallygate`."""

from tallygate.cli import main

main()
