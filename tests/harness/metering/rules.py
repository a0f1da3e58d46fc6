"""Rate rules that say only what a test is about, and their pots as control has them."""

from dataclasses import dataclass, field
from typing import Any

from control_service.domain.limit import LimitPotKey as ControlKey
from control_service.domain.pot import Quantity
from control_service.domain.rate_pot import RatePot
from metering_service.domain.counts import Counts
from metering_service.domain.decision import Decision
from metering_service.domain.limit import Limit
from metering_service.domain.pot import PotKind
from metering_service.domain.rate_rule import RateMetric
from metering_service.domain.report import Phase
from tests.harness.metering.fake_control import ACCOUNT
from tests.harness.metering.node_harness import Client, Fleet, report

ACCOUNT_NAME = f"accounts/{ACCOUNT}"
MINUTE_MS = 60_000


def put_rule(
    fleet: Fleet,
    limit: int,
    uid: str = "uid-rule",
    *,
    metric: RateMetric = RateMetric.TOTAL_TOKENS,
    burst: int | None = None,
    period_ms: int = MINUTE_MS,
    dry_run: bool = False,
    **more: Any,
) -> Limit:
    """A rule of the account, unless another place is said; or another one in the place of that with the same uid."""
    is_rate = metric is not RateMetric.CONCURRENT_REQUESTS
    rule = Limit(
        uid,
        f"{ACCOUNT_NAME}/rateRules/{uid}",
        PotKind.RATE if is_rate else PotKind.SLOTS,
        **{"place": ACCOUNT_NAME, **more},
        only_counts=dry_run,
        metric=metric.value,
        limit_units=limit,
        period_ms=period_ms if is_rate else 0,
        burst_units=(limit if burst is None else burst) if is_rate else 0,
    )
    control = fleet.control
    others = tuple(each for each in control.limits.limits if each.uid != uid)
    control.limits = control.limits._replace(limits=(*others, rule), version=control.limits.version + 1)
    if is_rate:
        control.rate(rule)
    else:
        control.slots(rule)
    return rule


def rate_of(fleet: Fleet, uid: str = "uid-rule") -> RatePot:
    """What has accrued by now, as control knows it."""
    pot = fleet.control.pots[fleet.control.limit_key(ControlKey(ACCOUNT, uid), PotKind.RATE)]
    assert isinstance(pot, RatePot)
    return pot.refilled(fleet.clock.now_us())


def slots_of(fleet: Fleet, uid: str = "uid-rule") -> Quantity:
    """The slots as control knows them."""
    pot = fleet.control.pots[fleet.control.limit_key(ControlKey(ACCOUNT, uid), PotKind.SLOTS)]
    assert isinstance(pot, Quantity)
    return pot


def there(fleet: Fleet, uid: str = "uid-rule") -> int:
    """Units of a rule that nobody has held: available and on lease."""
    pot = rate_of(fleet, uid)
    return pot.available_units + pot.leased_units


@dataclass
class Caller:
    """An inference server at one node."""

    fleet: Fleet
    node: str = "a"
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.fleet[self.node])

    def ask(self, request_id: str, input_tokens: int = 0, **more: Any) -> Decision | None:
        """Ask for a request; None: it waits."""
        said = report(Phase.AUTHORIZE, request_id, Counts(input_tokens), **{"max_output_tokens": 0, **more})
        return self.client.say(said)

    def ask_all(self, requests: dict[str, Any], **more: Any) -> dict[str, Decision | None]:
        """Ask for many at once; their first answers."""
        first = self.client.sequence + 1
        self.client.send(
            *(
                report(Phase.AUTHORIZE, request_id, Counts(tokens), **{"max_output_tokens": 0, **more})
                for request_id, tokens in requests.items()
            )
        )
        self.client.rig.pump()
        return {request_id: self.client.said(first + number) for number, request_id in enumerate(requests)}

    def progress(self, request_id: str, input_tokens: int, output_tokens: int) -> Decision | None:
        """A running request's counts."""
        return self.client.say(report(Phase.PROGRESS, request_id, Counts(input_tokens, output=output_tokens)))

    def finish(self, request_id: str, input_tokens: int = 0, output_tokens: int = 0) -> None:
        """A request ends with these counts."""
        self.client.say(report(Phase.FINISH, request_id, Counts(input_tokens, output=output_tokens)))
