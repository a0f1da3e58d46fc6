"""The story of the demo: one account, from a first denied request to reserved capacity."""

from __future__ import annotations

from tallygate._wire.amounts import NANOS
from tallygate.cli.money import format_amount
from tallygate.cli.stage import CURRENCY, Stage, StoryError
from tallygate.control.v1 import (
    account_pb2,
    account_service_pb2,
    catalog_service_pb2,
    inference_service_pb2,
    ledger_pb2,
    lifecycle_service_pb2,
    model_pb2,
    reservation_pb2,
    team_service_pb2,
)

ACCOUNT = "accounts/acme"
MODEL = "models/llama-3.1-70b"
DEFAULT = f"{ACCOUNT}/services/default-llama-3.1-70b"
TEAM = f"{ACCOUNT}/teams/chat"
CUSTOM = f"{ACCOUNT}/services/chat-prod"

_CENT = NANOS // 100
_TRIAL_TOKENS = 600_000
_SHORT = "acme/default-llama-3.1-70b"

_UNDECIDED = {"BUDGET_CONTENDED", "CONTROL_UNREACHABLE", "OVERLOADED", "STORAGE_UNAVAILABLE", "UNREACHABLE"}
"""Reasons of denials that are no refusals: a busy machine may cause them."""

_Service = inference_service_pb2.InferenceService


async def play_story(stage: Stage) -> None:
    """Plays all acts. Raises StoryError where something does not go as planned."""
    await _set_the_scene(stage)
    await _not_enabled(stage)
    await _trial(stage)
    await _trial_and_postpaid(stage)
    await _overdue(stage)
    await _top_up(stage)
    await _reservation(stage)
    await _books(stage)


async def _set_the_scene(stage: Stage) -> None:
    stage.act(
        "A model and an account",
        "An operator puts a model into the catalogue, with a price, a free trial and reserved capacity for sale.\n"
        "An account pays in 2.00 USD.",
    )
    stage.command("model create llama-3.1-70b --trial-tokens 600000 --reserved-input 0.002 --reserved-output 0.008")
    await stage.catalog.CreateModel(
        catalog_service_pb2.CreateModelRequest(
            name=MODEL,
            aliases=["meta-llama/Llama-3.1-70B-Instruct"],
            trial_offer=model_pb2.TrialOffer(quota_tokens=_TRIAL_TOKENS),
            reservation_price=model_pb2.ReservationPrice(
                input_nanos_per_thousand_tpm_day=NANOS // 500, output_nanos_per_thousand_tpm_day=NANOS // 125
            ),
        )
    )
    stage.command("model publish-price llama-3.1-70b --input 2.50 --output 10.00")
    await stage.catalog.PublishPrice(
        catalog_service_pb2.PublishPriceRequest(
            model=MODEL,
            input_nanos_per_million_tokens=250 * _CENT,
            output_nanos_per_million_tokens=1_000 * _CENT,
        )
    )
    stage.command("account create acme")
    await stage.accounts.CreateAccount(account_service_pb2.CreateAccountRequest(name=ACCOUNT))
    await _pay_in(stage, 200)


async def _not_enabled(stage: Stage) -> None:
    stage.act(
        "Denied: nobody has started it",
        "Every account has a default service for every model. Nobody created it, and nobody has started it yet.",
    )
    await stage.until(
        DEFAULT, "NOT_ENABLED", lambda found: _is(found, inference_service_pb2.SERVICE_STATUS_NOT_ENABLED)
    )
    denial = await stage.request_once(DEFAULT)
    if denial is None or denial.reason != "NOT_ENABLED":
        raise StoryError(f"a request of {DEFAULT} should be denied with NOT_ENABLED, not with {denial}")
    stage.note(f"a request: [red]DENY {denial.reason}[/] {denial.message}")


async def _trial(stage: Stage) -> None:
    stage.act("Free trial", f"The user claims the model's free trial: {_TRIAL_TOKENS:,} tokens. Nothing is charged.")
    stage.command(f"service claim-trial {_SHORT}")
    await stage.lifecycle.ClaimFreeTrial(lifecycle_service_pb2.ClaimFreeTrialRequest(name=DEFAULT))
    await stage.until(DEFAULT, "RUNNING", _runs)
    outcome = await stage.play(DEFAULT, 200)
    _expect(outcome.tally.receipts.billed.total == 0, "a trial should bill nothing")
    found = await stage.service(DEFAULT)
    stage.note(f"{found.free_trial.remaining_tokens:,} trial tokens remain")


async def _trial_and_postpaid(stage: Stage) -> None:
    stage.act(
        "Trial, then pay-as-you-go",
        "The user enables pay-as-you-go in advance. The trial still pays first; what it does not cover is billed.",
    )
    stage.command(f"service enable-postpaid {_SHORT}")
    await stage.lifecycle.EnablePostpaid(lifecycle_service_pb2.EnablePostpaidRequest(name=DEFAULT))
    await stage.until(DEFAULT, "RUNNING", _runs)
    outcome = await stage.play(DEFAULT, 300)
    paid = outcome.tally.receipts
    _expect(paid.trial.total > 0, "the trial should have paid first")
    _expect(paid.billed.total > 0, "pay-as-you-go should have paid the rest")


async def _overdue(stage: Stage) -> None:
    stage.act(
        "Overdue",
        "Traffic goes on and the money runs out. No request is charged what the account does not have.",
    )
    for _ in range(6):
        await stage.play(DEFAULT, 300)
        if await stage.request_until(DEFAULT, until="ACCOUNT_OVERDUE"):
            break
    await stage.until(DEFAULT, "STOPPED as the account is overdue", _is_overdue)
    await _print_balance(stage)


async def _top_up(stage: Stage) -> None:
    stage.act("Top-up", "Money comes in. The service returns to RUNNING by itself; nobody has to restart it.")
    await _pay_in(stage, 2_000)
    await stage.until(DEFAULT, "RUNNING", _runs)
    outcome = await stage.play(DEFAULT, 200)
    refused = set(outcome.tally.denials) - _UNDECIDED
    _expect(not refused, f"nothing should be refused after the top-up, but some was: {', '.join(refused)}")


async def _reservation(stage: Stage) -> None:
    stage.act(
        "Reserved capacity",
        "A custom service buys 60,000 input and 6,000 output tokens per minute for 30 days.\n"
        "What goes beyond it at any moment is billed by token.",
    )
    stage.command("team create acme/chat")
    await stage.teams.CreateTeam(team_service_pb2.CreateTeamRequest(name=TEAM, display_name="Chat"))
    stage.command("service create acme/chat-prod --model llama-3.1-70b --team chat")
    await stage.lifecycle.CreateInferenceService(
        lifecycle_service_pb2.CreateInferenceServiceRequest(name=CUSTOM, model=MODEL, team="chat")
    )
    stage.command("service reserve acme/chat-prod --input-tpm 60000 --output-tpm 6000 --days 30")
    bought = await stage.lifecycle.PurchaseReservation(
        lifecycle_service_pb2.PurchaseReservationRequest(
            inference_service=CUSTOM,
            terms=lifecycle_service_pb2.ReservationTerms(
                input_tokens_per_minute=60_000,
                output_tokens_per_minute=6_000,
                term_day_count=30,
                overflow_policy=reservation_pb2.OVERFLOW_POLICY_BILL_BY_TOKEN,
            ),
        )
    )
    stage.note(f"paid {format_amount(bought.reservation.paid_nanos, CURRENCY)} in advance")
    await stage.until(CUSTOM, "RUNNING", _runs)
    outcome = await stage.play(CUSTOM, 200)
    paid = outcome.tally.receipts
    _expect(paid.reserved.total > 0, "the reservation should have paid first")
    _expect(paid.billed.total > 0, "what went beyond the reservation should have been billed")


async def _books(stage: Stage) -> None:
    stage.act("The books", "Everything that was paid in, less everything that was spent, is the balance. To the nano.")
    account = await _account(stage)
    entries = await stage.accounts.ListLedgerEntries(
        account_service_pb2.ListLedgerEntriesRequest(account=ACCOUNT, page_size=1_000)
    )
    sums: dict[str, int] = {}
    for entry in entries.ledger_entries:
        name = ledger_pb2.LedgerEntryKind.Name(entry.kind).removeprefix("LEDGER_ENTRY_KIND_")
        sums[name] = sums.get(name, 0) + entry.amount_nanos
    for name, nanos in sums.items():
        stage.note(f"{name:<12} {format_amount(nanos, CURRENCY):>20}")
    stage.note(f"{'balance':<12} [bold]{format_amount(account.balance_nanos, CURRENCY):>20}[/]")
    _expect(sum(sums.values()) == account.balance_nanos, "the ledger should add up to the balance")
    cost_nanos = sum(outcome.tally.receipts.cost_nanos for outcome in stage.outcomes)
    _expect(cost_nanos == -sums.get("USAGE", 0), "the receipts should add up to what the ledger charged")
    overrun = sum(outcome.tally.receipts.overrun_tokens for outcome in stage.outcomes)
    _expect(overrun == 0, "no token should have gone beyond its grant")
    tokens = sum(outcome.tally.sent.total for outcome in stage.outcomes)
    stage.note(f"[bold green]{tokens:,} tokens, every one of them accounted for.[/]")


async def _pay_in(stage: Stage, cents: int) -> None:
    stage.command(f"account top-up acme --amount {cents // 100}.{cents % 100:02}")
    await stage.accounts.TopUpAccount(
        account_service_pb2.TopUpAccountRequest(name=ACCOUNT, amount_nanos=cents * _CENT, reason="demo")
    )
    await _print_balance(stage)


async def _print_balance(stage: Stage) -> None:
    account = await _account(stage)
    stage.note(f"balance {format_amount(account.balance_nanos, CURRENCY)}")


async def _account(stage: Stage) -> account_pb2.Account:
    return (await stage.accounts.GetAccount(account_service_pb2.GetAccountRequest(name=ACCOUNT))).account


def _is(found: _Service, status: inference_service_pb2.ServiceStatus.ValueType) -> bool:
    return found.status == status


def _runs(found: _Service) -> bool:
    return _is(found, inference_service_pb2.SERVICE_STATUS_RUNNING)


def _is_overdue(found: _Service) -> bool:
    return list(found.stop_reasons) == [inference_service_pb2.STOP_REASON_ACCOUNT_OVERDUE]


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise StoryError(what)
