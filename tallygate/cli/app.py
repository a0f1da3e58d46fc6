"""The command line: its commands, and the modules that have them."""

from __future__ import annotations

import sys

import typer

from tallygate._settings_file import adopt_settings_file
from tallygate.cli import (
    alerts,
    audit,
    bindings,
    budgets,
    check,
    config,
    contexts_command,
    keys,
    models,
    operations,
    principals,
    rate_rules,
    reservations,
    service_accounts,
    service_life,
    statement,
    teams,
    tls,
    tokens,
    usage,
    webhooks,
)
from tallygate.cli.bootstrap import bootstrap
from tallygate.cli.console import err, literal
from tallygate.cli.demo import demo
from tallygate.cli.explain import explain
from tallygate.cli.login import login, logout, whoami
from tallygate.cli.recover import recover_command
from tallygate.cli.replay import replay
from tallygate.cli.security import security_options
from tallygate.cli.up import serve, up

app = typer.Typer(
    help="Token metering and admission control for LLM inference fleets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.callback()(security_options)
app.command()(up)
app.command()(replay)
app.command()(demo)
for _command in (login, logout, whoami):
    app.command()(_command)
app.command()(explain)
app.command("recover")(recover_command)
app.add_typer(check.app, name="check")
app.add_typer(statement.app, name="account")
app.add_typer(models.app, name="model")
app.add_typer(service_life.app, name="service")
app.add_typer(reservations.app, name="reservation")
app.add_typer(usage.app, name="usage")
app.add_typer(rate_rules.app, name="rule")
app.add_typer(budgets.app, name="budget")
app.add_typer(audit.app, name="audit")
app.add_typer(teams.app, name="team")
app.add_typer(bindings.members, name="member")
app.add_typer(bindings.app, name="binding")
app.add_typer(service_accounts.app, name="service-account")
app.add_typer(tokens.app, name="token")
app.add_typer(keys.app, name="key")
app.add_typer(principals.app, name="principal")
app.add_typer(alerts.app, name="alert")
app.add_typer(webhooks.app, name="webhook")
app.add_typer(operations.nodes, name="node")
app.add_typer(operations.pots, name="pot")
app.add_typer(operations.leases, name="lease")
app.add_typer(contexts_command.app, name="context")
app.add_typer(config.app, name="config")
app.add_typer(tls.app, name="tls")
tokens.app.command()(bootstrap)

_control = typer.Typer(help="The control service by itself.", no_args_is_help=True)
_metering = typer.Typer(help="A metering node by itself.", no_args_is_help=True)
app.add_typer(_control, name="control")
app.add_typer(_metering, name="metering")

_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@_control.command("serve", context_settings=_PASS_ON, add_help_option=False)
def serve_control(context: typer.Context) -> None:
    """Runs the control service with its own options; --help shows them."""
    serve("control_service", context.args)


@_metering.command("serve", context_settings=_PASS_ON, add_help_option=False)
def serve_metering(context: typer.Context) -> None:
    """Runs a metering node with its own options; --help shows them."""
    serve("metering_service", context.args)


def main() -> None:
    """Entry point of `tallygate`. A mistake in the settings file ends it with status 2, after a sentence."""
    try:
        adopt_settings_file()
    except ValueError as error:
        err.print("error:", style="bold red", end=" ")
        err.print(literal(str(error)))
        sys.exit(2)
    app()
