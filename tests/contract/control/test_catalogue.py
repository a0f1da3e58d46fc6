"""Models, aliases and prices."""

import pytest

from control_service.domain.errors import (
    InvalidRequestError,
    Reason,
    RefusedError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from control_service.domain.model import TrialOffer
from control_service.usecases.people.catalogue import (
    ModelUpdate,
    ModelView,
    NewModel,
    create_model,
    model_views,
    update_model,
)
from tallygate._server.clock import ManualClock
from tests.harness.control.fleet_harness import Kit
from tests.harness.control.people_harness import Desk


async def update(desk: Desk, model_id: str = "llama", **changes: object) -> ModelView:
    nothing = {name: False if name == "withdraw_trial" else None for name in ModelUpdate.__slots__}
    wanted = ModelUpdate(**{**nothing, **changes})  # type: ignore[arg-type]  # fields by name
    return await desk.of_globals(lambda tx, act: update_model(tx, model_id, wanted, act))


async def price_version(desk: Desk) -> int | None:
    async with desk.database.reading() as tx:
        (view,) = await model_views(tx, [await tx.models.get("llama")], desk.now_us)
    return None if view.price is None else view.price.version


async def test_an_alias_belongs_to_one_model(desk: Desk) -> None:
    """An alias finds its model, moves when it is taken away first, and is refused to a second one before."""
    await desk.create_model("other")
    await update(desk, aliases=("meta-llama/Llama-3.1-8B", "llama3"))
    with pytest.raises(ResourceExistsError, match="belongs to another model"):
        await update(desk, "other", aliases=("llama3",))
    await update(desk, aliases=("meta-llama/Llama-3.1-8B",))
    await update(desk, "other", aliases=("llama3",))
    async with desk.database.reading() as tx:
        found = [await tx.models.with_alias(alias) for alias in ("llama3", "meta-llama/Llama-3.1-8B", "none")]
    assert [model and model.model_id for model in found] == ["other", "llama", None]


async def test_an_update_leaves_what_is_not_given(desk: Desk) -> None:
    """Each setting changes by itself; a withdrawn trial cannot be claimed, and one claimed keeps its terms."""
    await desk.create()
    await desk.claim()
    assert (await update(desk, display_name="Llama")).model.trial_offer == TrialOffer(1_000, 60_000_000)
    view = await update(desk, trial_offer=TrialOffer(50), smallest_request_tokens=8)
    assert (view.model.trial_offer, view.model.display_name) == (TrialOffer(50), "Llama")
    assert (await update(desk, withdraw_trial=True)).model.trial_offer is None
    trial = (await desk.show()).service.trial
    assert trial is not None
    assert (trial.quota_tokens, trial.smallest_tokens) == (1_000, 16)


async def test_nodes_are_told_of_the_settings_that_they_go_by(desk: Desk) -> None:
    """The most output and the hold for whole answers change by themselves, and reach nodes when they change."""
    before = (await update(desk)).model
    assert (before.output_tokens_max, before.whole_output_tokens_default) == (0, 4_096)
    limited = (await update(desk, output_tokens_max=8_192)).model
    assert (limited.output_tokens_max, limited.whole_output_tokens_default) == (8_192, 4_096)
    held = (await update(desk, whole_output_tokens_default=1)).model
    assert (held.output_tokens_max, held.whole_output_tokens_default) == (8_192, 1)
    assert (await update(desk, output_tokens_max=8_192)).model.config_version == held.config_version
    unlimited = (await update(desk, output_tokens_max=0)).model
    assert unlimited.output_tokens_max == 0
    versions = [model.config_version for model in (before, limited, held, unlimited)]
    assert versions == sorted(set(versions))


async def test_a_trial_serves_at_least_one_request(desk: Desk) -> None:
    """A quota below the smallest request is refused, whichever of the two is changed, and with a new model too."""
    for changes, path in (
        ({"trial_offer": TrialOffer(15)}, "trial_offer.quota_tokens"),
        ({"smallest_request_tokens": 1_001}, "smallest_request_tokens"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            await update(desk, **changes)
        assert [field for field, _ in caught.value.violations] == [path]
    await update(desk, trial_offer=TrialOffer(16))
    new = NewModel("dead", "", (), "USD", TrialOffer(15), None, 16)
    with pytest.raises(InvalidRequestError, match="a trial of 15 tokens"):
        await desk.of_globals(lambda tx, act: create_model(tx, new, act))


async def test_a_model_without_an_offer_gives_no_trial(desk: Desk) -> None:
    """And the refusal names the model."""
    await update(desk, withdraw_trial=True)
    await desk.create()
    with pytest.raises(RefusedError) as caught:
        await desk.claim()
    assert (caught.value.reason, caught.value.metadata) == (Reason.NO_TRIAL_OFFER, {"model": "models/llama"})


async def test_prices_take_effect_in_their_time(desk: Desk) -> None:
    """Versions count up as published, and are in force as they take effect; none takes effect in the past."""
    assert await price_version(desk) is None
    await desk.publish_price()
    await desk.publish_price(desk.now_us + 10_000_000)
    await desk.publish_price(desk.now_us + 5_000_000)
    assert await price_version(desk) == 1
    desk.clock.advance(5)
    assert await price_version(desk) == 3
    desk.clock.advance(5)
    assert await price_version(desk) == 2
    with pytest.raises(InvalidRequestError, match="effective_time"):
        await desk.publish_price(desk.now_us - 1)


async def test_nodes_hear_of_prices(desk: Desk) -> None:
    """A price is a new configuration of its model, and one to come is due when it takes effect."""
    await desk.publish_price(desk.now_us + 10_000_000)
    await desk.publish_price(desk.now_us + 5_000_000)
    async with desk.database.reading() as tx:
        model = await tx.models.get("llama")
    assert (model.config_version, model.next_due_us) == (await desk.version(), desk.now_us + 5_000_000)


async def test_a_price_to_come_can_be_withdrawn(desk: Desk) -> None:
    """It never takes effect, is still listed, and its version is not given again; a repeat changes nothing."""
    await desk.publish_price()
    await Kit(desk.database, desk.clock).sweeper.tick()
    await desk.publish_price(desk.now_us + 5_000_000)
    await desk.publish_price(desk.now_us + 9_000_000)
    gone = await desk.withdraw_price(2)
    desk.clock.advance(1)
    assert await desk.withdraw_price(2) == gone
    async with desk.database.reading() as tx:
        assert (await tx.models.get("llama")).next_due_us == gone.effective_us + 4_000_000
    desk.clock.advance(5)
    assert await price_version(desk) == 1
    await desk.withdraw_price(3)
    await desk.publish_price()
    async with desk.database.reading() as tx:
        listed = await tx.models.prices_page("llama", 4, 2)
        assert (await tx.models.get("llama")).next_due_us is None
    assert [(one.version, one.withdrawn) for one in listed] == [(3, True), (2, True)]
    assert listed[1] == gone
    assert await price_version(desk) == 4


async def test_a_price_in_effect_is_not_withdrawn(desk: Desk) -> None:
    """Requests may have it. One that there never was is not found."""
    await desk.publish_price()
    with pytest.raises(RefusedError) as caught:
        await desk.withdraw_price(1)
    assert (caught.value.reason, caught.value.metadata) == (Reason.PRICE_IN_EFFECT, {"price": "models/llama/prices/1"})
    with pytest.raises(ResourceNotFoundError, match="models/llama/prices/2"):
        await desk.withdraw_price(2)
    assert await price_version(desk) == 1


async def test_a_price_that_a_clock_ahead_has_put_into_effect_is_not_withdrawn(desk: Desk) -> None:
    """Of another replica, which has told nodes of it; one that is still to come there is."""
    await desk.publish_price(desk.now_us + 5_000_000)
    await desk.publish_price(desk.now_us + 20_000_000)
    ahead = ManualClock(desk.now_us + 10_000_000)
    await Kit(desk.database, ahead).sweeper.tick()
    with pytest.raises(RefusedError, match="taken effect"):
        await desk.withdraw_price(1)
    assert (await desk.withdraw_price(2)).withdrawn


async def test_withdrawing_leaves_what_the_sweeper_has_to_do(desk: Desk) -> None:
    """What is due already stays due: services that wait for the first price start again."""
    await desk.publish_price(desk.now_us + 5_000_000)
    await desk.publish_price()
    async with desk.database.reading() as tx:
        due_us = (await tx.models.get("llama")).next_due_us
    assert due_us == desk.now_us
    await desk.withdraw_price(1)
    async with desk.database.reading() as tx:
        assert (await tx.models.get("llama")).next_due_us == due_us
