"""The `tallygate` command. It uses the wire contract and starts the services as programs; it never imports them."""

import sys


def main() -> None:
    """Run the command. Where only the client is installed, print what is missing and end with exit code 2."""
    try:
        from tallygate.cli import app  # noqa: PLC0415  # what it needs comes with an extra
    except ModuleNotFoundError as error:
        print(f"The command needs {error.name}, which comes with: pip install 'tallygate[cli]'", file=sys.stderr)
        sys.exit(2)
    app.main()
