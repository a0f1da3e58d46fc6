"""The metering service as a program: `python -m metering_service --help`."""

import os
import sys

from metering_service.link_options import channels_to
from metering_service.settings import addresses, common_options, common_variables, parse
from metering_service.supervisor import Supervisor
from tallygate._server.grpc.tls import require_ready
from tallygate._server.process.logs import configure_logging, parse_levels
from tallygate._server.process.options import environment_of
from tallygate._server.process.run import ends_program, run


def main() -> None:
    """Read the settings and serve until told to stop."""
    with ends_program():
        settings = parse(sys.argv[1:], environment_of(os.environ))
        require_ready(addresses(settings), settings.tls)
        channels_to(settings.control.split(","), settings.control_security)
    if settings.check:
        return
    configure_logging(settings.log_format, parse_levels(settings.telling.log_level))
    if settings.worker_count > 1:
        supervisor = Supervisor(
            settings.listen,
            settings.node_name,
            settings.worker_count,
            common_options(settings),
            common_variables(settings),
            mtls_listen=settings.tls.mtls_listen if settings.tls else "",
            metrics_listen=settings.telling.metrics_listen,
        )
        run(supervisor.run)
    else:
        from metering_service.bootstrap import serve  # noqa: PLC0415  # takes long, and wrong options are said at once

        run(lambda stop: serve(settings, stop))


if __name__ == "__main__":
    main()
