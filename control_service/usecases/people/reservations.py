"""TPM reservations: purchase and cancellation."""

from dataclasses import dataclass, replace

from control_service.domain.account import Account
from control_service.domain.bucket import Bucket
from control_service.domain.errors import InvalidRequestError, Reason, RefusedError, ResourceNotFoundError
from control_service.domain.event import EventCause
from control_service.domain.in_use import require_in_use
from control_service.domain.input_bounds import FUNDS_NANOS_MAX, RESERVED_TOKENS_MAX
from control_service.domain.ledger import LedgerEntryKind, Line
from control_service.domain.names import model_name, reservation_name
from control_service.domain.pot import PotKey
from control_service.domain.reservation import DAY_US, OverflowPolicy, Reservation, ReservationTerms, charge_nanos
from control_service.domain.service import Service, ServiceKind
from control_service.domain.status import PostpaidState
from control_service.usecases.idempotent_call import Act
from control_service.usecases.money_recall import require_recalled
from control_service.usecases.people.payments import book
from control_service.usecases.people.switches import enable_postpaid, require_currency, require_price
from control_service.usecases.ports import Transaction
from control_service.usecases.service_status import reserved_by, update_status
from tallygate._wire.amounts import units_text


@dataclass(frozen=True, slots=True)
class Quote:
    """What a reservation would cost, until when, whether it would switch pay-as-you-go on, and what money it lacks."""

    price_nanos: int
    end_us: int
    enables_postpaid: bool
    shortfall_nanos: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchased reservation, its service and account after it, and whether it switched pay-as-you-go on."""

    reservation: Reservation
    service: Service
    account: Account
    postpaid_enabled: bool


async def purchase(tx: Transaction, account: Account, service: Service, terms: ReservationTerms, act: Act) -> Purchase:
    """Buys a reservation for a custom service, from now on, paid at once.

    Raises:
        RefusedError: ACCOUNT_CLOSED, MODEL_RETIRED, CUSTOM_SERVICE_REQUIRED, NO_RESERVATION_PRICE, CURRENCY_MISMATCH,
            INSUFFICIENT_BALANCE, or NO_PRICE_IN_FORCE where overflow shall be billed by token.
        MoneyOnLeaseError: the account could pay if money came back from lease, and that may be asked for.
        InvalidRequestError: the service's reserved rate would be greater than `RESERVED_TOKENS_MAX`, or the price than
            `FUNDS_NANOS_MAX`.
    """
    price_nanos = await _price(tx, account, service, terms)
    _require_money(account, price_nanos, act)
    reservation = Reservation(
        account_id=account.account_id,
        service_id=service.service_id,
        reservation_number=service.reservation_count + 1,
        input_tokens_per_minute=terms.input_tokens_per_minute,
        output_tokens_per_minute=terms.output_tokens_per_minute,
        overflow_policy=terms.overflow_policy,
        paid_nanos=price_nanos,
        start_us=act.now_us,
        end_us=act.now_us + terms.term_day_count * DAY_US,
    )
    line = Line(
        LedgerEntryKind.RESERVATION,
        -reservation.paid_nanos,
        _name(reservation),
        service.service_id,
        service.uid,
        service.team,
    )
    account = (await book(tx, account, line, act)).account
    await tx.reservations.add(reservation)
    service = replace(service, reservation_count=reservation.reservation_number)
    await _add_minute(tx, service, reservation, act)
    origin = act.because(EventCause.RESERVATION_PURCHASED)
    service = await update_status(tx, account, service, origin, config_changed=True)
    enables = _enables_postpaid(service, terms)
    if enables:
        service = await enable_postpaid(tx, account, service, act)
    return Purchase(reservation, service, account, enables)


async def cancel(tx: Transaction, account: Account, service: Service, number: int, act: Act) -> Reservation:
    """Ends a reservation before its term is over. No money is paid back.

    Raises:
        ResourceNotFoundError: there is no such reservation.
        RefusedError: RESERVATION_NOT_ACTIVE.
    """
    reservation = await tx.reservations.get(service.account_id, service.service_id, number)
    if reservation is None:
        raise ResourceNotFoundError(reservation_name(service.account_id, service.service_id, number))
    if not reservation.active(act.now_us):
        message = f"{_name(reservation)} is over already; there is nothing to cancel."
        raise RefusedError(Reason.RESERVATION_NOT_ACTIVE, message, reservation=_name(reservation))
    cancelled = replace(reservation, end_us=act.now_us, cancelled=True)
    await tx.reservations.save(cancelled)
    await update_status(tx, account, service, act.because(EventCause.RESERVATION_ENDED), config_changed=True)
    return cancelled


async def quote(tx: Transaction, account: Account, service: Service, terms: ReservationTerms, now_us: int) -> Quote:
    """What a purchase of these terms would come to now. Raises what `purchase` raises, but for want of money."""
    price_nanos = await _price(tx, account, service, terms)
    rates = await reserved_by(tx, service, now_us)
    _require_rates(
        rates.input_tokens_per_minute + terms.input_tokens_per_minute,
        rates.output_tokens_per_minute + terms.output_tokens_per_minute,
    )
    enables = _enables_postpaid(service, terms)
    if enables:
        await require_price(tx, service.model_id, now_us)
    return Quote(price_nanos, now_us + terms.term_day_count * DAY_US, enables, _shortfall_nanos(account, price_nanos))


async def _price(tx: Transaction, account: Account, service: Service, terms: ReservationTerms) -> int:
    """The price of the terms, in nanos, of this service and account. Raises RefusedError and InvalidRequestError."""
    require_in_use(account, service)
    if service.kind is not ServiceKind.CUSTOM:
        message = f"{service.name} is a default service, and reservations are for custom ones; create one."
        raise RefusedError(Reason.CUSTOM_SERVICE_REQUIRED, message, service=service.name)
    model = await tx.models.get(service.model_id)
    require_currency(account, model)
    if model.reservation_price is None:
        name = model_name(model.model_id)
        message = f"{name} sells no reserved capacity; set its reservation_price first."
        raise RefusedError(Reason.NO_RESERVATION_PRICE, message, model=name)
    price_nanos = charge_nanos(model.reservation_price, terms)
    if price_nanos > FUNDS_NANOS_MAX:
        bound = f"{units_text(FUNDS_NANOS_MAX)} {account.currency_code}"
        raise InvalidRequestError([("terms", f"must not cost more than {bound}, the most that an account can hold")])
    return price_nanos


def _shortfall_nanos(account: Account, price_nanos: int) -> int:
    """What the account lacks to pay this, even once all of its money has come back from lease."""
    if price_nanos <= max(0, account.available_nanos):
        return 0
    return max(0, price_nanos - account.available_nanos - account.leased_nanos)


def _require_money(account: Account, price_nanos: int, act: Act) -> None:
    """Raises RefusedError where the account cannot pay, MoneyOnLeaseError where it could by what may be recalled."""
    if price_nanos <= max(0, account.available_nanos):
        return
    if act.may_recall and not _shortfall_nanos(account, price_nanos):
        require_recalled(account, price_nanos)
    cost, available, leased = (
        f"{units_text(nanos)} {account.currency_code}"
        for nanos in (price_nanos, account.available_nanos, account.leased_nanos)
    )
    on_lease = f", and {leased} on lease to metering nodes" if account.leased_nanos else ""
    raise RefusedError(
        Reason.INSUFFICIENT_BALANCE,
        f"The reservation costs {cost}, and the account has {available} available{on_lease}; "
        "top it up or take a smaller one.",
        required_nanos=str(price_nanos),
        available_nanos=str(account.available_nanos),
        leased_nanos=str(account.leased_nanos),
    )


def _enables_postpaid(service: Service, terms: ReservationTerms) -> bool:
    """Whether a purchase switches pay-as-you-go on, for tokens beyond the rate."""
    return terms.overflow_policy is OverflowPolicy.BILL_BY_TOKEN and service.postpaid is not PostpaidState.ENABLED


def _require_rates(input_tokens_per_minute: int, output_tokens_per_minute: int) -> None:
    """Raises InvalidRequestError where more than `RESERVED_TOKENS_MAX` would be reserved."""
    rates = {"input": input_tokens_per_minute, "output": output_tokens_per_minute}
    for name, rate in rates.items():
        if rate > RESERVED_TOKENS_MAX:
            what = f"must not, with what is reserved already, exceed {RESERVED_TOKENS_MAX}"
            raise InvalidRequestError([(f"terms.{name}_tokens_per_minute", what)])


async def _add_minute(tx: Transaction, service: Service, reservation: Reservation, act: Act) -> None:
    """Adds a reservation's own full minute to the buckets. The reservation is stored, so the rates include it."""
    rates = await reserved_by(tx, service, act.now_us)
    _require_rates(rates.input_tokens_per_minute, rates.output_tokens_per_minute)
    added = reservation.input_tokens_per_minute, reservation.output_tokens_per_minute
    for (kind, rate), tokens in zip(rates.by_kind.items(), added, strict=True):
        found = await tx.buckets.find(service.account_id, service.uid, kind)
        bucket = (found or Bucket.empty(act.now_us)).refilled(act.now_us).rated(rate, added_tokens=tokens)
        await tx.buckets.put(service.account_id, service.uid, kind, bucket)
        act.came_back.add(PotKey.of(service.account_id, service.uid, kind))


def _name(reservation: Reservation) -> str:
    return reservation_name(reservation.account_id, reservation.service_id, reservation.reservation_number)
