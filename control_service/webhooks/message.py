"""Messages in the form of Standard Webhooks: a JSON body, and headers that sign it.

Numbers of 64 bits are texts, as in the JSON of the contract: a receiver's JavaScript would round them.
"""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from control_service.domain.alert import AlertKind
from control_service.domain.names import account_name
from control_service.usecases.alerts.courier_port import Letter

TEST_TYPE: Final = "webhook.test"
TYPES: Final = {
    AlertKind.BUDGET_THRESHOLD: "budget.threshold",
    AlertKind.TRIAL_THRESHOLD: "trial.threshold",
    AlertKind.MONEY_THRESHOLD: "money.threshold",
    AlertKind.SERVICE_STATUS: "service.status",
    AlertKind.ACCOUNT_OVERDUE: "account.overdue",
    AlertKind.ACCOUNT_RECOVERED: "account.recovered",
}
_SMALL: Final = "threshold_percent"
"""Name of the one figure that is no number of 64 bits."""
_LISTS: Final = frozenset({"stop_reasons"})
"""Names of words that are several."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_S: Final = 1_000_000


def body_of(letter: Letter) -> bytes:
    """The message itself, the same for each attempt."""
    return json.dumps(_content(letter), separators=(",", ":"), ensure_ascii=False).encode()


def headers_of(letter: Letter, body: bytes) -> dict[str, str]:
    """The headers of this attempt: the id that repeats are known by, its time, a signature by each secret."""
    timestamp = str(letter.attempt_us // _US_PER_S)
    signed = b".".join((letter.message_id.encode(), timestamp.encode(), body))
    signatures = (hmac.digest(secret, signed, "sha256") for secret in letter.secrets)
    return {
        "webhook-id": letter.message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures),
    }


def _content(letter: Letter) -> dict[str, Any]:
    alert = letter.alert
    if alert is None:
        return {
            "type": TEST_TYPE,
            "timestamp": _time(letter.create_us),
            "data": {"account": account_name(letter.webhook.account_id), "webhook": letter.webhook.name},
        }
    content = alert.content
    data: dict[str, Any] = {
        "account": account_name(alert.account_id),
        "alert": alert.name,
        "sequence_number": str(alert.number),
        "resource": content.resource,
    }
    data |= dict(_figure(name, figure) for name, figure in content.figures.items())
    data |= {name: [*filter(None, text.split(","))] if name in _LISTS else text for name, text in content.words.items()}
    return {"type": TYPES[content.kind], "timestamp": _time(alert.create_us), "data": data}


def _figure(name: str, figure: int) -> tuple[str, int | str]:
    """A figure, or a moment, under its name in a message."""
    if name.endswith("_us"):
        return f"{name.removesuffix('_us')}_time", _time(figure)
    return name, figure if name == _SMALL else str(figure)


def _time(moment_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=moment_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")
