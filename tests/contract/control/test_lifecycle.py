"""The life of services, and its events."""

import pytest

from control_service.domain.errors import Reason, RefusedError, ResourceExistsError, ResourceNotFoundError
from control_service.domain.event import EventCause
from control_service.domain.service import OutagePolicy, Service
from control_service.domain.status import BillingMode, Status, StopReason
from control_service.usecases.fleet.config_lookup import lookup_configs
from control_service.usecases.people.lifecycle import InitialBilling, Step, create_with_billing
from control_service.usecases.people.services import NewService, ServiceUpdate, delete_service, update_service
from tests.harness.control.people_harness import DEFAULT, RESERVED, RESERVED_NANOS, TRIAL, Desk


async def refusal(of: object) -> Reason:
    with pytest.raises(RefusedError) as caught:
        await of  # type: ignore[misc]  # any awaitable
    return caught.value.reason


async def test_a_default_service_is_stored_when_it_is_acted_on(desk: Desk) -> None:
    """Until then it is computed, with the uid that it keeps for ever; looking at it stores nothing."""
    before = (await desk.show(DEFAULT)).service
    async with desk.database.reading() as tx:
        assert await tx.services.find("acme", DEFAULT) is None
    assert (before.create_us, before.told_status) == (None, Status.NOT_ENABLED)
    await desk.claim(DEFAULT)
    async with desk.database.reading() as tx:
        after = await tx.services.find("acme", DEFAULT)
    assert after is not None
    assert (after.uid, after.create_us) == (before.uid, desk.now_us)


async def test_a_refused_act_stores_nothing(desk: Desk) -> None:
    """An act that is refused leaves a default service as computed as it was, and so does one that changes nothing."""
    assert await refusal(desk.enable(DEFAULT)) is Reason.NO_PRICE_IN_FORCE
    assert await refusal(desk.disable(DEFAULT)) is Reason.POSTPAID_NEVER_ENABLED
    await desk.suspend(DEFAULT, suspended=False)
    async with desk.database.reading() as tx:
        assert await tx.services.find("acme", DEFAULT) is None


async def test_there_is_no_default_service_without_a_model(desk: Desk) -> None:
    """A default service exists for supported models only."""
    with pytest.raises(ResourceNotFoundError, match="default-mistral"):
        await desk.show("default-mistral")


async def test_claiming_a_trial_starts_the_service(desk: Desk) -> None:
    """The trial comes with the terms of the day, an activation version for the fleet, and an event."""
    view = await desk.claim(DEFAULT)
    trial = view.service.trial
    assert trial is not None
    assert (trial.quota_tokens, trial.expire_us) == (TRIAL.quota_tokens, desk.now_us + 60_000_000)
    assert view.derived.status is Status.ACTIVATING
    assert view.derived.billing_modes == {BillingMode.FREE_TRIAL}
    assert view.service.activation_version == view.service.config_version == await desk.version()
    (event,) = await desk.events(DEFAULT)
    assert (event.origin.cause, event.origin.actor.name) == (EventCause.TRIAL_CLAIMED, "user")
    assert (event.old_status, event.new_status) == (Status.NOT_ENABLED, Status.ACTIVATING)


async def test_a_trial_is_given_once_per_account_and_model(desk: Desk) -> None:
    """Not to another service, nor to the same one again; the refusal says which service has it."""
    await desk.claim(DEFAULT)
    await desk.create("chat")
    for service_id in (DEFAULT, "chat"):
        with pytest.raises(RefusedError) as caught:
            await desk.claim(service_id)
        assert caught.value.reason is Reason.TRIAL_ALREADY_CLAIMED
        assert caught.value.metadata == {"service": f"accounts/acme/services/{DEFAULT}"}


async def test_a_trial_that_ran_out_of_time_stops_the_service(desk: Desk) -> None:
    """Whoever acts next finds it stopped, with an event of the moment at which that happened."""
    await desk.create()
    await desk.claim()
    ends_us = desk.now_us + 60_000_000
    desk.clock.advance(90)
    assert (await desk.show()).derived.stop_reasons == {StopReason.TRIAL_EXPIRED}
    await desk.suspend()
    _, expired, suspended = await desk.events()
    assert (expired.origin.cause, expired.origin.actor.name) == (EventCause.TRIAL_EXPIRED, "system")
    assert (expired.origin.at_us, suspended.origin.at_us) == (ends_us, desk.now_us)
    assert suspended.old_stop_reasons == {StopReason.TRIAL_EXPIRED}


async def test_postpaid_needs_a_price_in_force(desk: Desk) -> None:
    """A price that takes effect later is not in force yet."""
    await desk.publish_price(desk.now_us + 5_000_000)
    assert await refusal(desk.enable(DEFAULT)) is Reason.NO_PRICE_IN_FORCE
    desk.clock.advance(5)
    assert (await desk.enable(DEFAULT)).derived.billing_modes == {BillingMode.PAY_AS_YOU_GO}


async def test_postpaid_needs_one_currency(desk: Desk) -> None:
    """Nobody is charged in a currency that the account does not have."""
    await desk.create_model("claire", currency="EUR")
    await desk.publish_price(model_id="claire")
    assert await refusal(desk.enable("default-claire")) is Reason.CURRENCY_MISMATCH


async def test_events_are_read_from_either_end(desk: Desk) -> None:
    """In pages that follow each other, without gaps and without repeats."""
    await desk.create()
    for _ in range(2):
        await desk.suspend()
        await desk.suspend(suspended=False)
    async with desk.database.reading() as tx:
        numbers = [event.event_number for event in await tx.events.page("acme", "chat", 0, 100)]
        latest = await tx.events.page("acme", "chat", 100, 3, newest_first=True)
        before = await tx.events.page("acme", "chat", latest[-1].event_number, 100, newest_first=True)
    assert len(latest) == 3
    assert [event.event_number for event in [*latest, *before]] == numbers[::-1]


async def test_repeating_a_switch_changes_nothing(desk: Desk) -> None:
    """No event, no new configuration, no new time of change."""
    await desk.publish_price()
    for switch in (desk.enable, desk.disable, desk.suspend):
        before = await switch(DEFAULT)
        events, version = len(await desk.events(DEFAULT)), await desk.version()
        desk.clock.advance(1)
        assert (await switch(DEFAULT)).service == before.service
        assert (len(await desk.events(DEFAULT)), await desk.version()) == (events, version)


async def test_switching_off_stops_although_trial_tokens_remain(desk: Desk) -> None:
    """The product's documented rule; switching on again is the remedy."""
    await desk.publish_price()
    await desk.claim(DEFAULT)
    both = await desk.enable(DEFAULT)
    assert both.derived.billing_modes == {BillingMode.FREE_TRIAL, BillingMode.PAY_AS_YOU_GO}
    stopped = await desk.disable(DEFAULT)
    assert stopped.derived.status is Status.STOPPED
    assert stopped.derived.stop_reasons == {StopReason.POSTPAID_DISABLED}
    assert (await desk.enable(DEFAULT)).derived.status is Status.ACTIVATING


async def test_every_change_takes_a_new_configuration_version(desk: Desk) -> None:
    """Versions grow with every act that changes the configuration of nodes."""
    await desk.publish_price()
    versions = [
        (await act(DEFAULT)).service.config_version for act in (desk.claim, desk.enable, desk.suspend, desk.disable)
    ]
    assert versions == sorted(set(versions))
    assert versions[-1] == await desk.version()


async def test_a_service_is_created_with_its_billing_or_not_at_all(desk: Desk) -> None:
    """Where one step is refused, nothing of the service is there."""
    everything = InitialBilling(claim_free_trial=True, enable_postpaid=True, reservation=RESERVED)
    await desk.publish_price()
    assert await refusal(desk.create("chat", everything)) is Reason.INSUFFICIENT_BALANCE
    with pytest.raises(ResourceNotFoundError):
        await desk.show("chat")
    await desk.pay(RESERVED_NANOS)
    view = await desk.create("chat", everything)
    assert view.derived.billing_modes == {
        BillingMode.FREE_TRIAL,
        BillingMode.PAY_AS_YOU_GO,
        BillingMode.TPM_RESERVATION,
    }
    assert (await desk.account()).balance_nanos == 0


async def test_names_are_never_used_again(desk: Desk) -> None:
    """A tombstone stays, refuses every act, and keeps its name."""
    await desk.create()
    await desk.claim()
    deleted = await desk.change(delete_service)
    assert (deleted.derived.status, deleted.service.delete_us) == (Status.STOPPED, desk.now_us)
    assert (await desk.events())[-1].origin.cause is EventCause.DELETED
    assert await refusal(desk.suspend()) is Reason.SERVICE_DELETED
    assert await refusal(desk.change(delete_service)) is Reason.SERVICE_DELETED
    with pytest.raises(ResourceExistsError):
        await desk.create()


async def test_what_cannot_be_deleted(desk: Desk) -> None:
    """Default services never, and custom ones not while a reservation is active."""
    assert await refusal(desk.change(delete_service, DEFAULT)) is Reason.DEFAULT_SERVICE
    await desk.pay(RESERVED_NANOS)
    await desk.create()
    await desk.buy()
    assert await refusal(desk.change(delete_service)) is Reason.RESERVATION_ACTIVE
    desk.clock.advance(86_400)
    assert (await desk.change(delete_service)).service.deleted


async def test_updates_leave_out_what_is_not_given(desk: Desk) -> None:
    """Display name, team and labels change one by one; nodes are notified of the team alone."""
    await desk.create_team("blue")
    await desk.create()
    version = await desk.version()
    await desk.change(lambda tx, _, service, act: update_service(tx, service, ServiceUpdate("Chat", None, None), act))
    labels = {"tier": "gold", "a": ""}
    await desk.change(lambda tx, _, service, act: update_service(tx, service, ServiceUpdate(None, None, labels), act))
    assert await desk.version() == version
    await desk.change(lambda tx, _, service, act: update_service(tx, service, ServiceUpdate(None, "blue", None), act))
    service = (await desk.show()).service
    assert (service.display_name, service.team, service.labels) == ("Chat", "blue", labels)
    assert await desk.version() == version + 1


async def test_nodes_are_told_of_an_outage_policy(desk: Desk) -> None:
    """Of a service that was created with one or, a default one too, given one later; a repeat changes no version."""
    new = NewService("steady", "llama", "", "", {}, OutagePolicy.CONTINUE, 5_000)
    await desk.of_account(lambda tx, account, act: create_with_billing(tx, account, new, InitialBilling(), act))
    assert _outage((await desk.show("steady")).service) == (OutagePolicy.CONTINUE, 5_000)
    continues = ServiceUpdate(None, None, None, OutagePolicy.CONTINUE, 7)
    for update, announced in ((continues, True), (continues, False), (ServiceUpdate("Chat", None, None), False)):
        version = await desk.version()
        view = await desk.change(_updated(update), DEFAULT)
        assert _outage(view.service) == (OutagePolicy.CONTINUE, 7)
        assert (await desk.version() > version) is announced
        async with desk.database.reading() as tx:
            (config,) = await lookup_configs(tx, [view.service.name], version=await desk.version(), now_us=desk.now_us)
        assert config.terms is not None
        assert (config.terms.outage_policy, config.terms.outage_tokens_max) == (OutagePolicy.CONTINUE, 7)
    await desk.change(_updated(ServiceUpdate(None, None, None, OutagePolicy.DENY)), DEFAULT)
    assert _outage((await desk.show(DEFAULT)).service) == (OutagePolicy.DENY, 0)


def _updated(update: ServiceUpdate) -> Step:
    return lambda tx, _, service, act: update_service(tx, service, update, act)


def _outage(service: Service) -> tuple[OutagePolicy, int]:
    return service.outage_policy, service.outage_tokens_max


async def test_a_suspension_holds_from_before_the_start(desk: Desk) -> None:
    """What an operator suspends does not run when somebody starts it; resuming lets it."""
    await desk.suspend(DEFAULT)
    assert (await desk.claim(DEFAULT)).derived.status is Status.STOPPED
    resumed = await desk.suspend(DEFAULT, suspended=False)
    assert resumed.derived.status is Status.ACTIVATING
    causes = [event.origin.cause for event in await desk.events(DEFAULT)]
    assert causes == [EventCause.SUSPENDED, EventCause.TRIAL_CLAIMED, EventCause.RESUMED]
