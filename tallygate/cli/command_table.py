"""The table of commands: each with its module, and the sentence that says what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is: a function or a `typer.Typer` in a module of this folder.

    `help`: the sentence by which its own help begins; a list of commands is written without importing them.
    """

    module: str
    attribute: str
    help: str


PLACES: Final = {
    "up": Place("up", "up", "Runs the control service and a metering node; Ctrl-C stops both."),
    "replay": Place(
        "replay", "replay", "Replays a trace and reconciles: sent, acknowledged, recorded, aggregated, leased, charged."
    ),
    "what-if": Place(
        "what_if",
        "what_if",
        "Works out what requests would have cost, and who would have paid, under other settings.",
    ),
    "proxy": Place(
        "proxy",
        "proxy",
        "Passes requests on to inference servers and meters them; its other settings are those of the middleware.",
    ),
    "envoy": Place(
        "envoy",
        "envoy",
        "Meters what passes through Envoy; its other settings are those of the middleware.",
    ),
    "console": Place(
        "console_server",
        "console",
        "Serves the console: pages in the browser, for whoever signs in with a token or with an issuer.",
    ),
    "demo": Place(
        "demo",
        "demo",
        "Starts both services in a temporary directory and tells the story of one account, under replayed traffic.",
    ),
    "login": Place("login", "login", "Signs in and keeps who you are for the commands that follow."),
    "logout": Place(
        "login", "logout", "Forgets who you are; a token that was given for a sign-in opens nothing from then on."
    ),
    "whoami": Place("login", "whoami", "Shows who you are to the control service, and what you may do."),
    "explain": Place(
        "explain",
        "explain",
        "Says why a request was denied or had to end, or who paid; each node remembers its own denials.",
    ),
    "recover": Place(
        "recover", "recover_command", "Reconciles the two databases after one of them was restored from an older copy."
    ),
    "doctor": Place(
        "doctor",
        "doctor",
        "Examines both services, and says what is wrong and what to do; exit status 1 if anything is that bad.",
    ),
    "audit-books": Place(
        "audit_books",
        "audit_books",
        "Reads both databases, writes to neither, and names what does not add up; exit status 1 if anything does not.",
    ),
    "import": Place("imports", "app", "Brings keys, teams and budgets along from another gateway; shows them first."),
    "check": Place("check", "app", "Whether what is to be started would work."),
    "account": Place("statement", "app", "Accounts and their money."),
    "model": Place("models", "app", "Models and their prices."),
    "service": Place("service_life", "app", "Inference services: their status, and how they are paid for."),
    "reservation": Place("reservations", "app", "Reservations: capacity by the minute, paid in advance."),
    "usage": Place("usage_export", "app", "Usage: what was used, when, by whom, and who paid."),
    "rule": Place("rate_rules", "app", "Rate rules: so many requests or tokens a period, or requests at once."),
    "budget": Place("budgets", "app", "Budgets: caps on the tokens or the money of a period."),
    "audit": Place("audit", "app", "The audit log: changes and refusals."),
    "team": Place("teams", "app", "Teams of an account; services belong to them."),
    "member": Place("bindings", "members", "Members of an account or of a team: who has a role there."),
    "binding": Place("bindings", "app", "Roles: who has which on which scope."),
    "service-account": Place(
        "service_accounts", "app", "Service accounts: programs that call, with roles and tokens of their own."
    ),
    "token": Place("tokens", "app", "Access tokens: what programs and people prove themselves by."),
    "key": Place("keys", "app", "API keys: what end users show to inference servers."),
    "principal": Place("principals", "app", "People and programs: who has signed in, who is locked out."),
    "alert": Place("alerts", "app", "Alerts: what an account was told of."),
    "webhook": Place("webhooks", "app", "Webhooks: where an account's alerts are sent."),
    "node": Place("operations", "nodes", "Metering nodes, as the control service knows them."),
    "pot": Place("operations", "pots", "Pots: what can run out, and where it is."),
    "lease": Place("operations", "leases", "Leases: what nodes have in hand."),
    "context": Place(
        "contexts_command", "app", "Contexts: the pairs that you have logged in to, and which of them commands use."
    ),
    "config": Place("config", "app", "Settings of services, middleware and this command."),
    "tls": Place("tls", "app", "Certificates: an authority of one's own, and what it issues."),
    "control": Place("serve", "control", "The control service by itself."),
    "metering": Place("serve", "metering", "A metering node by itself."),
}
"""All commands by name, in the order in which help lists them."""
