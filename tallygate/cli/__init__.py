"""The `tallygate` command. It speaks the wire contract and starts the services as programs; it never imports them."""

from tallygate.cli.app import main

__all__ = ["main"]
