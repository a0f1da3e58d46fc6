"""Webhooks as people change them: their secrets, what is on its way to them, how many there are."""

from dataclasses import replace

import pytest

from control_service.domain.alert import ALERTS_KEPT_US, AlertKind
from control_service.domain.delivery import DELIVERIES_KEPT_US, Delivery, DeliveryState
from control_service.domain.errors import (
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.webhook import WEBHOOK_COUNT_MAX, Webhook
from control_service.storage.database import SqlDatabase
from control_service.usecases.alerts import replay
from control_service.usecases.alerts.replay import Replayed, ReplayFrom, replay_alerts
from control_service.usecases.alerts.webhooks import (
    NewWebhook,
    SecretMint,
    SecretRotation,
    ShownWebhook,
    WebhookUpdate,
    create_webhook,
    delete_webhook,
    rotate_secret,
    send_test,
    update_webhook,
)
from control_service.usecases.upkeep.retention import PERIOD_NS, Purge
from tests.harness.control.alerts import alerts_of
from tests.harness.control.webhooks import HookDesk

URL = "https://hooks.example/x"
HOUR_US = 3_600_000_000


@pytest.fixture
async def desk(database: SqlDatabase) -> HookDesk:
    desk = HookDesk(database)
    await desk.create_account()
    return desk


async def rotate(desk: HookDesk, overlap_us: int, salt: bytes) -> ShownWebhook:
    rotation, mint = SecretRotation("pager", overlap_us), SecretMint(desk.secrets, lambda _: salt)
    return await desk.of_account(lambda tx, account, act: rotate_secret(tx, account, rotation, mint, act))


async def update(desk: HookDesk, **given: object) -> Webhook:
    wanted = WebhookUpdate(**({"url": None, "kinds": None, "disabled": None} | given))  # type: ignore[arg-type]
    return await desk.of_account(lambda tx, account, act: update_webhook(tx, account, "pager", wanted, act))


async def send(desk: HookDesk) -> Delivery:
    return await desk.of_account(lambda tx, account, act: send_test(tx, account, "pager", act))


async def again(desk: HookDesk, number: int = 1, start_us: int = 0) -> Replayed:
    begin = ReplayFrom(number, start_us)
    return await desk.of_account(lambda tx, account, act: replay_alerts(tx, account, "pager", begin, act))


async def test_a_rotation_lets_the_secret_before_sign_for_its_time(desk: HookDesk) -> None:
    """And not a microsecond longer; the one before that does not sign at all."""
    first = await desk.hook(URL)
    second = await rotate(desk, HOUR_US, b"2" * 32)
    assert first.secret != second.secret
    start_us = desk.now_us
    assert second.webhook.salts_at(start_us) == (b"2" * 32, first.webhook.salt)
    assert second.webhook.salts_at(start_us + HOUR_US - 1) == (b"2" * 32, first.webhook.salt)
    assert second.webhook.salts_at(start_us + HOUR_US) == (b"2" * 32,)
    third = await rotate(desk, HOUR_US, b"3" * 32)
    assert third.webhook.salts_at(start_us) == (b"3" * 32, b"2" * 32)
    assert await desk.webhook() == third.webhook


async def test_without_a_pepper_there_are_no_webhooks(desk: HookDesk) -> None:
    """Nothing could sign what is sent to them."""
    mint, new = SecretMint(None, bytes), NewWebhook("pager", URL)
    with pytest.raises(RefusedError) as caught:
        await desk.of_account(lambda tx, account, act: create_webhook(tx, account, new, mint, act))
    assert caught.value.reason is Reason.TOKENS_NOT_KEPT
    assert await desk.webhook() is None


async def test_what_is_on_its_way_to_a_disabled_webhook_is_cancelled(desk: HookDesk) -> None:
    """It gets no more until it is enabled, and no test."""
    webhook = (await desk.hook(URL)).webhook
    await desk.alert()
    assert (await update(desk, disabled=True)).disabled
    await desk.alert()
    assert [one.state for one in await desk.deliveries(webhook)] == [DeliveryState.CANCELLED]
    for refused in (again(desk), send(desk)):
        with pytest.raises(RefusedError) as caught:
            await refused
        assert caught.value.reason is Reason.WEBHOOK_DISABLED
    await update(desk, disabled=False)
    await desk.alert()
    numbers = [(one.alert_number, one.state) for one in await desk.deliveries(webhook)]
    assert numbers == [(1, DeliveryState.CANCELLED), (3, DeliveryState.PENDING)]


async def test_an_update_changes_what_is_given(desk: HookDesk) -> None:
    """Another address, other kinds; no kinds are all."""
    await desk.hook(URL)
    kinds = frozenset({AlertKind.ACCOUNT_OVERDUE})
    assert (await update(desk, kinds=kinds)).kinds == kinds
    assert (await update(desk, url="https://other.example")).kinds == kinds
    changed = await update(desk, kinds=frozenset())
    assert (changed.url, changed.kinds, changed.disabled) == ("https://other.example", frozenset(), False)


async def test_a_deleted_webhook_takes_its_deliveries_along(desk: HookDesk) -> None:
    """Its name may be used again, and the new one has none of the old one's."""
    old = (await desk.hook(URL)).webhook
    await desk.alert()
    with pytest.raises(ResourceExistsError):
        await desk.hook(URL)
    await desk.of_account(lambda tx, account, _: delete_webhook(tx, account, "pager"))
    with pytest.raises(ResourceNotFoundError):
        await update(desk)
    assert await desk.deliveries(old) == []
    new = (await desk.hook(URL)).webhook
    assert new.uid != old.uid
    assert await desk.deliveries(new) == []


async def test_an_account_has_so_many_webhooks(desk: HookDesk) -> None:
    """One more is refused; another account has its own."""
    for number in range(WEBHOOK_COUNT_MAX):
        await desk.hook(URL, f"hook-{number}")
    with pytest.raises(InvalidRequestError, match="20 webhooks"):
        await desk.hook(URL)


async def test_a_replay_sends_what_is_wanted_again_under_its_ids(
    desk: HookDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its ids, from a number or a moment on, at most so many at a time; what is under way begins anew."""
    monkeypatch.setattr(replay, "REPLAYED_MAX", 3)
    await desk.alert(2)
    webhook = (await desk.hook(URL)).webhook
    desk.clock.advance(60)
    middle_us = desk.now_us
    await desk.alert(2)
    await desk.alert(1, AlertKind.ACCOUNT_RECOVERED)
    ids = {one.message_id for one in await desk.deliveries(webhook)}
    assert await again(desk) == Replayed(3, 4)
    assert await again(desk, 4) == Replayed(2, 0)
    after = await desk.deliveries(webhook)
    assert sorted(one.alert_number for one in after) == [1, 2, 3, 4, 5]
    assert ids < {one.message_id for one in after}
    assert await again(desk, start_us=middle_us) == Replayed(3, 0)
    await update(desk, kinds=frozenset({AlertKind.ACCOUNT_RECOVERED}))
    assert await again(desk, 3) == Replayed(1, 0)


async def test_old_alerts_and_deliveries_that_have_ended_go(desk: HookDesk) -> None:
    """After a year and after 30 days, to the microsecond; what is under way stays."""
    webhook = (await desk.hook(URL)).webhook
    await desk.alert(2)
    start_us = desk.now_us
    purge = Purge(desk.database, desk.clock)
    ended, pending = await desk.deliveries(webhook)
    async with desk.database.writing() as tx:
        await tx.deliveries.put([replace(ended, state=DeliveryState.DELIVERED, next_attempt_us=None)])

    async def left(after_us: int) -> tuple[int, int]:
        desk.clock.advance(us=start_us + after_us - desk.now_us)
        await purge.tick()
        return len(await alerts_of(desk.database)), len(await desk.deliveries(webhook))

    assert await left(DELIVERIES_KEPT_US) == (2, 2)
    assert await left(DELIVERIES_KEPT_US + PERIOD_NS // 1_000) == (2, 1)
    assert await desk.deliveries(webhook) == [pending]
    assert await left(ALERTS_KEPT_US) == (2, 1)
    assert await left(ALERTS_KEPT_US + PERIOD_NS // 1_000) == (0, 1)
