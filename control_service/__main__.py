"""The control service as a program: `python -m control_service --help`."""

import os
import sys

from control_service.access_settings import read_credentials
from control_service.settings import addresses, parse
from tallygate._server.grpc.tls import require_ready
from tallygate._server.process.logs import configure_logging, parse_levels
from tallygate._server.process.options import environment_of
from tallygate._server.process.run import ends_program, run


def main() -> None:
    """Read the settings and serve until told to stop."""
    with ends_program():
        settings = parse(sys.argv[1:], environment_of(os.environ))
        require_ready(addresses(settings), settings.tls)
        read_credentials(settings.access)
    if settings.check:
        return
    configure_logging(settings.log_format, parse_levels(settings.telling.log_level))
    from control_service.bootstrap import serve  # noqa: PLC0415  # takes long, and wrong options are said at once

    run(lambda stop: serve(settings, stop))


if __name__ == "__main__":
    main()
