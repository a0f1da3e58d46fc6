"""Deliveries reach their receivers at least once, whatever fails in between, and none waits for another's receiver."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from control_service.domain.alert import AlertKind
from control_service.domain.delivery import DAY_US, LEASE_US, RETRIED_FOR_US, DeliveryState, Outcome, Problem
from control_service.storage.database import SqlDatabase
from control_service.usecases.alerts.courier_port import Courier, Letter
from control_service.usecases.alerts.delivery_sender import RECEIVERS_MAX, DeliverySender
from control_service.usecases.alerts.replay import ReplayFrom, replay_alerts
from control_service.usecases.alerts.webhooks import WebhookUpdate, update_webhook
from tests.harness.control.receiver import Receiver, running_receiver
from tests.harness.control.webhooks import HookDesk, numbers_of
from tests.harness.patience import PATIENCE_S, until
from tests.harness.ports import reserved_port

STEP_S = 20


@pytest.fixture
async def desk(database: SqlDatabase) -> HookDesk:
    desk = HookDesk(database)
    await desk.create_account()
    return desk


class ScriptedCourier(Courier):
    """Answers as it is told, by the webhook's id, and remembers what it was given. An event may hold an answer back."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.by_webhook: dict[str, Outcome] = {}
        self.held: dict[str, asyncio.Event] = {}
        self.letters: list[Letter] = []

    async def take(self, letter: Letter) -> Outcome:
        self.letters.append(letter)
        webhook_id = letter.webhook.webhook_id
        if webhook_id in self.held:
            await self.held[webhook_id].wait()
        return self.by_webhook.get(webhook_id, self.outcome)


TAKEN, BROKEN = Outcome(200), Outcome(500)


async def run(desk: HookDesk, sender: DeliverySender, seconds: int = 0, step_s: int = STEP_S) -> None:
    """Lets time pass in steps, and the sender do what is due in each."""
    for _ in range(seconds // step_s + 1):
        await sender.tick()
        await sender.idle()
        if seconds:
            desk.clock.advance(step_s)


async def test_a_receiver_that_was_down_for_an_hour_gets_everything(desk: HookDesk) -> None:
    """Control is killed twice meanwhile, once amid an attempt: each message comes, and numbers have no gaps."""
    with reserved_port() as port:
        await _be_down_for_an_hour(desk, Receiver(port=port))


async def _be_down_for_an_hour(desk: HookDesk, receiver: Receiver) -> None:
    async with running_receiver(receiver):
        shown = await desk.hook(receiver.url)
        first = desk.sender(chance=0.5)
        await desk.alert(3)
        await run(desk, first)
    for number in range(60):  # Nobody listens; an alert a minute.
        await desk.alert()
        await run(desk, first, 40)
        if number == 30:
            first = desk.sender(chance=0.5)
    async with running_receiver(receiver):
        begun = asyncio.Event()
        forever = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await forever.wait()

        receiver.before_answer = hang
        while not begun.is_set():
            desk.clock.advance(STEP_S)
            await first.tick()
            await until(lambda: begun.is_set() or not first._turns)
        await first.stop()
        forever.set()
        receiver.before_answer = None
        await run(desk, desk.sender(chance=0.5), 2 * 3_600, 60)
        by_id = {one.message_id: one for one in receiver.taken}
        assert sorted(numbers_of(by_id.values())) == list(range(1, 64))
        assert {one.state for one in await desk.deliveries(shown.webhook)} == {DeliveryState.DELIVERED}
        repeats = Counter(one.message_id for one in receiver.taken)
        assert sum(count - 1 for count in repeats.values()) <= 1, "only what was under way at the end may come again"


async def test_first_attempts_are_in_order(desk: HookDesk) -> None:
    """Also of many that became due together, in one process."""
    async with running_receiver() as receiver:
        await desk.hook(receiver.url)
        await desk.alert(25)
        await run(desk, desk.sender(), 3 * STEP_S)
        assert numbers_of(receiver.taken) == list(range(1, 26))


async def test_a_slow_receiver_delays_nobody_else(desk: HookDesk) -> None:
    """While it holds its answer back, the others get theirs; it has one message at a time under way."""
    courier = ScriptedCourier(TAKEN)
    courier.held["slow"] = asyncio.Event()
    for webhook_id in ("quick", "slow", "third"):
        await desk.hook("https://hooks.example", webhook_id)
    await desk.alert(5)
    sender = desk.sender(courier)
    async with asyncio.timeout(PATIENCE_S):
        while len(courier.letters) < 11:
            await sender.tick()
            await asyncio.sleep(0)
    await sender.tick()
    sent = Counter(letter.webhook.webhook_id for letter in courier.letters)
    assert sent == {"quick": 5, "slow": 1, "third": 5}
    courier.held["slow"].set()
    await run(desk, sender, STEP_S)
    assert len(courier.letters) == 15


async def test_broken_receivers_take_no_place_from_others(desk: HookDesk) -> None:
    """More of them than a process sends to at a time, each with a backlog, before one that works."""
    courier = ScriptedCourier(BROKEN)
    async with desk.database.writing() as tx:
        shown = await tx.webhooks.of_account("acme")
        assert shown == []
    first = (await desk.hook("https://hooks.example", "hook-0")).webhook
    async with desk.database.writing() as tx:
        for number in range(1, RECEIVERS_MAX + 5):
            await tx.webhooks.add(replace(first, webhook_id=f"hook-{number}", uid=f"0-{number:03}"))
        await tx.webhooks.add(replace(first, webhook_id="works", uid="z"))
    courier.by_webhook["works"] = TAKEN
    await desk.alert(3)
    sender = desk.sender(courier)
    await run(desk, sender)
    await run(desk, sender)
    async with desk.database.reading() as tx:
        works = await tx.deliveries.page("z", (2**63 - 1, ""), 10)
    assert [one.state for one in works] == [DeliveryState.DELIVERED] * 3
    sent = Counter(letter.webhook.webhook_id for letter in courier.letters)
    assert max(count for webhook_id, count in sent.items() if webhook_id != "works") == 1


async def test_a_delivery_is_given_up_after_three_days(desk: HookDesk) -> None:
    """Attempts come ever less often, and none comes after that."""
    courier = ScriptedCourier(Outcome(problem=Problem.CONNECTION))
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert()
    start_us, sender = desk.now_us, desk.sender(courier)
    for _ in range(4 * 24 * 2):
        await sender.tick()
        await sender.idle()
        desk.clock.advance(1_800)
    (delivery,) = await desk.deliveries(webhook)
    assert (delivery.state, delivery.next_attempt_us) == (DeliveryState.GIVEN_UP, None)
    assert delivery.last_problem is Problem.CONNECTION
    times = [letter.attempt_us - start_us for letter in courier.letters]
    assert 10 <= len(times) == delivery.attempt_count <= 40
    assert 2 * DAY_US < times[-1] <= RETRIED_FOR_US
    assert {letter.message_id for letter in courier.letters} == {delivery.message_id}


@pytest.mark.parametrize("status", [400, 401, 404, 422, 499])
async def test_a_refusal_for_good_is_not_tried_again(desk: HookDesk, status: int) -> None:
    """What the receiver does not want is not sent again, and the next ones are."""
    courier = ScriptedCourier(Outcome(status))
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert(2)
    await run(desk, desk.sender(courier), 3_600, 300)
    assert [one.state for one in await desk.deliveries(webhook)] == [DeliveryState.REFUSED] * 2
    assert [one.last_status for one in await desk.deliveries(webhook)] == [status] * 2
    assert len(courier.letters) == 2


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 302])
async def test_other_statuses_are_tried_again(desk: HookDesk, status: int) -> None:
    """Until one of 200 to 299 comes; a redirect leads nowhere."""
    courier = ScriptedCourier(Outcome(status))
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert()
    sender = desk.sender(courier)
    await run(desk, sender, 600, 60)
    assert len(courier.letters) > 2
    courier.outcome = Outcome(204)
    await run(desk, sender, 3_600, 300)
    (delivery,) = await desk.deliveries(webhook)
    assert (delivery.state, delivery.last_status) == (DeliveryState.DELIVERED, 204)


@pytest.mark.parametrize(("asked_s", "waits_s"), [(900, 900), (1, 2), (10**6, 4 * 3_600)])
async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(desk: HookDesk, asked_s: int, waits_s: int) -> None:
    """Never shorter than without it, and no longer than the longest time between two attempts."""
    courier = ScriptedCourier(Outcome(503, retry_after_us=asked_s * 1_000_000))
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert()
    start_us, sender = desk.now_us, desk.sender(courier)
    await sender.tick()
    await sender.idle()
    (delivery,) = await desk.deliveries(webhook)
    assert delivery.next_attempt_us is not None
    assert delivery.next_attempt_us - start_us >= waits_s * 1_000_000
    assert delivery.next_attempt_us - start_us <= max(5, waits_s) * 1_000_000


async def test_a_receiver_that_is_gone_disables_its_webhook(desk: HookDesk) -> None:
    """Nothing else is sent; enabled again, it gets what comes from then on, and a replay what was before."""
    courier = ScriptedCourier(Outcome(410))
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert(3)
    sender = desk.sender(courier)
    await run(desk, sender, 600, 60)
    await desk.alert()
    await run(desk, sender, 600, 60)
    gone = await desk.webhook()
    assert gone is not None
    assert (gone.disabled, gone.gone, len(courier.letters)) == (True, True, 1)
    states = [one.state for one in await desk.deliveries(webhook)]
    assert Counter(states) == {DeliveryState.REFUSED: 1, DeliveryState.CANCELLED: 2}
    courier.outcome = TAKEN
    update = WebhookUpdate(None, None, disabled=False)
    enabled = await desk.of_account(lambda tx, account, act: update_webhook(tx, account, "pager", update, act))
    assert not enabled.gone
    again = await desk.of_account(lambda tx, account, act: replay_alerts(tx, account, "pager", ReplayFrom(), act))
    assert (again.alert_count, again.next_number) == (4, 0)
    await run(desk, sender, 600, 60)
    letters = [letter.alert.number for letter in courier.letters[1:] if letter.alert is not None]
    assert letters == [1, 2, 3, 4]


async def test_one_of_two_processes_takes_a_delivery(desk: HookDesk) -> None:
    """A conditional update decides; when the lease of one that died is over, the other one sends."""
    dead, living = ScriptedCourier(TAKEN), ScriptedCourier(TAKEN)
    dead.held["pager"] = asyncio.Event()
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert()
    first, second = desk.sender(dead), desk.sender(living)
    async with asyncio.timeout(PATIENCE_S):
        while not dead.letters:
            await first.tick()
            await asyncio.sleep(0)
    await run(desk, second)
    assert living.letters == []
    await first.stop()
    desk.clock.advance(us=LEASE_US)
    await run(desk, second)
    assert len(living.letters) == 1
    (delivery,) = await desk.deliveries(webhook)
    assert (delivery.state, delivery.attempt_count) == (DeliveryState.DELIVERED, 2)


async def test_a_late_answer_of_one_changes_nothing_of_another(desk: HookDesk) -> None:
    """Who was so slow that the lease passed on has no word any more."""
    slow, quick = ScriptedCourier(BROKEN), ScriptedCourier(TAKEN)
    slow.held["pager"] = asyncio.Event()
    webhook = (await desk.hook("https://hooks.example")).webhook
    await desk.alert()
    first, second = desk.sender(slow), desk.sender(quick)
    async with asyncio.timeout(PATIENCE_S):
        while not slow.letters:
            await first.tick()
            await asyncio.sleep(0)
    desk.clock.advance(us=LEASE_US)
    await run(desk, second)
    slow.held["pager"].set()
    await first.idle()
    (delivery,) = await desk.deliveries(webhook)
    assert (delivery.state, delivery.last_status) == (DeliveryState.DELIVERED, 200)


async def test_only_wanted_kinds_are_sent(desk: HookDesk) -> None:
    """A webhook of some kinds gets no others, and a disabled one nothing."""
    courier = ScriptedCourier(TAKEN)
    await desk.hook("https://hooks.example", "some", AlertKind.ACCOUNT_RECOVERED)
    await desk.hook("https://hooks.example", "all")
    update = WebhookUpdate(None, None, disabled=True)
    await desk.hook("https://hooks.example", "off")
    await desk.of_account(lambda tx, account, act: update_webhook(tx, account, "off", update, act))
    await desk.alert(kind=AlertKind.ACCOUNT_OVERDUE)
    await desk.alert(kind=AlertKind.ACCOUNT_RECOVERED)
    await run(desk, desk.sender(courier), 60)
    sent = sorted((one.webhook.webhook_id, one.alert.number) for one in courier.letters if one.alert is not None)
    assert sent == [("all", 1), ("all", 2), ("some", 2)]
