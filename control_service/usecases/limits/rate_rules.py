"""Rate rules: creation, lookup, change, deletion."""

from dataclasses import dataclass, replace

from control_service.domain.asker import Asker
from control_service.domain.errors import (
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.limit import LimitSubject, Place, RateMetric, RateRule
from control_service.domain.names import rate_rule_name
from control_service.domain.rate_rule import completed, default_burst, rate_rule_violations
from control_service.usecases.idempotent_call import Act
from control_service.usecases.limit_changes import note_limits
from control_service.usecases.limits.places import (
    living_place,
    require_few,
    require_manages,
    require_reads,
    smallest_request_tokens,
)
from control_service.usecases.ports import Transaction


@dataclass(frozen=True, slots=True)
class NewRateRule:
    """The settings of a rate rule to be created. A period or burst of 0 is the default."""

    rule_id: str
    place: Place
    metric: RateMetric
    limit_units: int
    period_us: int = 0
    burst_units: int = 0
    model_id: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RateRuleUpdate:
    """New settings of a rate rule; None leaves a setting as it is, and a burst of 0 is the default."""

    limit_units: int | None = None
    period_us: int | None = None
    burst_units: int | None = None
    dry_run: bool | None = None


async def create_rate_rule(tx: Transaction, new: NewRateRule, asker: Asker, act: Act) -> RateRule:
    """Adds a rate rule.

    Raises:
        ResourceExistsError: the name is or was in use.
        InvalidRequestError: the rule contradicts itself, what it hangs on is not there, or too much hangs there.
        DeniedError: the asker may not set limits there.
    """
    place = await living_place(tx, new.place)
    await require_manages(tx, place, asker)
    await require_few(tx, place)
    if new.model_id and await tx.models.find(new.model_id) is None:
        raise InvalidRequestError([("model", "must be there, and is not")])
    smallest_tokens = await smallest_request_tokens(tx, place, new.model_id)
    rule = RateRule(
        rule_id=new.rule_id,
        uid=act.new_id(),
        place=place,
        metric=new.metric,
        limit_units=new.limit_units,
        period_us=new.period_us,
        burst_units=new.burst_units,
        model_id=new.model_id,
        dry_run=new.dry_run,
        create_us=act.now_us,
        update_us=act.now_us,
    )
    rule = _valid(completed(rule, smallest_tokens), smallest_tokens)
    if await tx.rate_rules.find(place.subject, new.rule_id) is not None:
        raise ResourceExistsError(rate_rule_name(place.subject.name, new.rule_id))
    await tx.rate_rules.add(rule)
    await note_limits(tx, place.subject)
    return rule


async def get_rate_rule(tx: Transaction, subject: LimitSubject, rule_id: str, asker: Asker) -> RateRule:
    """The rule, tombstones included. Raises ResourceNotFoundError or DeniedError."""
    rule = await _find(tx, subject, rule_id)
    await require_reads(tx, rule.place, asker)
    return rule


async def update_rate_rule(
    tx: Transaction, subject: LimitSubject, rule_id: str, update: RateRuleUpdate, *, asker: Asker, act: Act
) -> RateRule:
    """Changes a rule's figures. A burst that was the default goes on being it.

    Raises:
        ResourceNotFoundError: there is no such rule.
        RefusedError: RESOURCE_DELETED.
        InvalidRequestError: the rule would contradict itself.
        DeniedError: the asker may not set limits there.
    """
    before = await _living(tx, subject, rule_id, asker)
    smallest_tokens = await smallest_request_tokens(tx, before.place, before.model_id)
    burst_units = update.burst_units
    if burst_units is None:
        burst_units = 0 if before.burst_units == default_burst(before, smallest_tokens) else before.burst_units
    after = replace(
        before,
        limit_units=before.limit_units if update.limit_units is None else update.limit_units,
        period_us=before.period_us if update.period_us is None else update.period_us,
        burst_units=burst_units,
        dry_run=before.dry_run if update.dry_run is None else update.dry_run,
    )
    after = _valid(completed(after, smallest_tokens), smallest_tokens)
    if after == before:
        return before
    after = replace(after, update_us=act.now_us)
    await tx.rate_rules.save(after)
    await note_limits(tx, subject)
    return after


async def delete_rate_rule(tx: Transaction, subject: LimitSubject, rule_id: str, asker: Asker, act: Act) -> RateRule:
    """Leaves a tombstone of a rule. Raises ResourceNotFoundError, RefusedError RESOURCE_DELETED, or DeniedError."""
    rule = await _living(tx, subject, rule_id, asker)
    deleted = replace(rule, update_us=act.now_us, delete_us=act.now_us)
    await tx.rate_rules.save(deleted)
    await note_limits(tx, subject)
    return deleted


def _valid(rule: RateRule, smallest_tokens: int) -> RateRule:
    """The rule, if it is right. Raises InvalidRequestError."""
    violations = list(rate_rule_violations(rule, smallest_tokens))
    if violations:
        raise InvalidRequestError(violations)
    return rule


async def _living(tx: Transaction, subject: LimitSubject, rule_id: str, asker: Asker) -> RateRule:
    """The rule, not deleted, which the asker may change."""
    rule = await _find(tx, subject, rule_id)
    await require_manages(tx, rule.place, asker)
    if rule.deleted:
        message = f"{rule.name} is deleted, and names are never used again; create another rule."
        raise RefusedError(Reason.RESOURCE_DELETED, message, resource=rule.name)
    return rule


async def _find(tx: Transaction, subject: LimitSubject, rule_id: str) -> RateRule:
    rule = await tx.rate_rules.find(subject, rule_id)
    if rule is None:
        raise ResourceNotFoundError(rate_rule_name(subject.name, rule_id))
    return rule
