"""Resources as people see them."""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from tallygate.cli.console import facts, literal
from tallygate.cli.money import format_amount
from tallygate.cli.remedies import remedies
from tallygate.control.v1 import account_pb2, inference_service_pb2, model_pb2

BAR_WIDTH: Final = 20

_STATUS_STYLES = {"RUNNING": "green", "STOPPED": "red", "ACTIVATING": "yellow", "NOT_ENABLED": "dim"}


def account_facts(account: account_pb2.Account) -> Table:
    """One account."""
    currency = account.currency_code
    overdue = Text("yes", style="red") if account.overdue else Text("no")
    return facts(
        ("account", literal(account.name, "bold")),
        ("display name", account.display_name),
        ("balance", format_amount(account.balance_nanos, currency)),
        ("available", format_amount(account.available_nanos, currency)),
        ("on lease to nodes", format_amount(account.leased_nanos, currency) if account.leased_nanos else ""),
        ("credit limit", format_amount(account.credit_limit_nanos, currency) if account.credit_limit_nanos else ""),
        ("overdue", overdue),
        ("closed", f"since {time_text(account.close_time)}" if account.HasField("close_time") else ""),
        ("overdue below", format_amount(account.overdue_floor_nanos, currency)),
        ("when overdue", account_pb2.OverduePolicy.Name(account.overdue_policy).removeprefix("OVERDUE_POLICY_")),
    )


def model_facts(model: model_pb2.Model) -> Table:
    """One model."""
    currency = model.currency_code
    offer, reserved, price = model.trial_offer, model.reservation_price, model.current_price
    trial = f"{offer.quota_tokens:,} tokens" if model.HasField("trial_offer") else "none"
    if offer.HasField("valid_for"):
        trial += f" within {offer.valid_for.seconds // 86_400} days"
    rows: list[tuple[str, str | Text]] = [
        ("model", literal(model.name, "bold")),
        ("display name", model.display_name),
        ("aliases", ", ".join(model.aliases)),
        ("retired", f"since {time_text(model.retire_time)}" if model.HasField("retire_time") else ""),
        ("free trial", trial),
        ("longest answer", f"{model.output_tokens_max:,} tokens" if model.output_tokens_max else "not known"),
        ("held for a whole answer without limit", f"{model.whole_output_tokens_default:,} tokens"),
    ]
    if model.HasField("reservation_price"):
        input_price = format_amount(reserved.input_nanos_per_thousand_tpm_day, currency)
        output_price = format_amount(reserved.output_nanos_per_thousand_tpm_day, currency)
        rows.append(("reserved, per 1,000 TPM and day", f"input {input_price}, output {output_price}"))
    rows.append(
        ("price per million tokens", price_text(price, currency) if model.HasField("current_price") else "none")
    )
    return facts(*rows)


def price_text(price: model_pb2.Price, currency: str) -> str:
    """A price on one line."""
    parts = [
        ("input", price.input_nanos_per_million_tokens),
        ("cached input", price.cached_input_nanos_per_million_tokens),
        ("cache write", price.cache_write_nanos_per_million_tokens),
        ("output", price.output_nanos_per_million_tokens),
        ("reasoning", price.reasoning_nanos_per_million_tokens),
    ]
    return ", ".join(f"{name} {format_amount(nanos, currency)}" for name, nanos in parts)


def status_text(service: inference_service_pb2.InferenceService) -> Text:
    """A service's status with its stop reasons, coloured."""
    status = inference_service_pb2.ServiceStatus.Name(service.status).removeprefix("SERVICE_STATUS_")
    reasons = [
        inference_service_pb2.StopReason.Name(reason).removeprefix("STOP_REASON_") for reason in service.stop_reasons
    ]
    text = Text(status, style=_STATUS_STYLES.get(status, "default"))
    return Text.assemble(text, f" ({', '.join(reasons)})") if reasons else text


def modes_text(service: inference_service_pb2.InferenceService) -> str:
    """How a service is billed now."""
    names = [inference_service_pb2.BillingMode.Name(mode) for mode in service.billing_modes]
    return " + ".join(name.removeprefix("BILLING_MODE_") for name in names)


def service_facts(service: inference_service_pb2.InferenceService) -> Table:
    """One service."""
    trial = service.free_trial
    trial_text = ""
    if service.HasField("free_trial"):
        trial_text = f"{_bar(trial.remaining_tokens, trial.quota_tokens)} {trial.remaining_tokens:,} of "
        trial_text += f"{trial.quota_tokens:,} tokens remain"
        if trial.HasField("expire_time"):
            trial_text += f", until {time_text(trial.expire_time)}"
    reserved = ""
    if service.reserved_input_tokens_per_minute or service.reserved_output_tokens_per_minute:
        reserved = (
            f"{service.reserved_input_tokens_per_minute:,} input and "
            f"{service.reserved_output_tokens_per_minute:,} output tokens per minute"
        )
    outage = "DENY"
    if service.outage_policy == inference_service_pb2.OUTAGE_POLICY_CONTINUE:
        outage = f"CONTINUE, {service.outage_tokens_max:,} tokens a node"
    return facts(
        ("service", literal(service.name, "bold")),
        ("display name", service.display_name),
        ("model", service.model),
        ("team", service.team),
        ("status", status_text(service)),
        ("to run it", "\n".join(remedies(service))),
        ("billing", modes_text(service)),
        ("pay-as-you-go", inference_service_pb2.PostpaidState.Name(service.postpaid).removeprefix("POSTPAID_STATE_")),
        ("free trial", trial_text),
        ("reserved", reserved),
        ("in an outage", outage),
        ("API keys", _keys_text(service)),
        ("labels", ", ".join(f"{key}={value}" for key, value in sorted(service.labels.items()))),
    )


def _bar(part: int, whole: int) -> str:
    """A bar of `BAR_WIDTH` characters; what is left of something, however little, is at least one of them."""
    filled = min(BAR_WIDTH, -(-part * BAR_WIDTH // whole)) if whole else 0
    return "█" * filled + "░" * (BAR_WIDTH - filled)


def _keys_text(service: inference_service_pb2.InferenceService) -> str:
    policy = inference_service_pb2.CredentialPolicy.Name(service.credential_policy).removeprefix("CREDENTIAL_POLICY_")
    return policy + (", shared with all teams" if service.shared else "")


def service_table(services: list[inference_service_pb2.InferenceService]) -> Table:
    """Many services."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("service", "model", "team", "status", "billing"):
        table.add_column(column, overflow="fold")
    for service in services:
        texts = map(literal, (service.name, service.model, service.team))
        table.add_row(*texts, status_text(service), modes_text(service))
    return table


def time_text(moment: Timestamp) -> str:
    """A moment, to the second, in UTC."""
    return moment.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")
