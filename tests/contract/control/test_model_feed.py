"""The feed of models' names: which model each means, and what a change of aliases does to that."""

from dataclasses import replace

import pytest

from control_service.domain.actor import Actor
from control_service.domain.errors import InvalidRequestError
from control_service.usecases.fleet import model_feed
from control_service.usecases.fleet.watcher import Watcher
from control_service.usecases.idempotent_call import Act
from control_service.usecases.people.catalogue import ModelUpdate, update_model
from tests.harness.control.fleet_harness import Kit, read

NO_UPDATE = ModelUpdate(None, None, None, False, None, None, None, None)


async def watching(kit: Kit, *texts: str, node: str = "node-a") -> Watcher:
    await kit.registration.register(node, 1, "metering-database")
    await kit.feed.poll()
    watcher = kit.feed.open(node, 1)
    await kit.feed.subscribe_keys(watcher, (), texts)
    return watcher


async def told(watcher: Watcher) -> dict[str, str]:
    """The model that each name in the next message means."""
    return {config.text: config.model_id for config in (await read(watcher)).models}


async def alias(kit: Kit, model_id: str, *aliases: str) -> None:
    """The model has these aliases from now on, by the use case of people."""
    act = Act(kit.now_us, Actor("operator"), lambda: "")
    async with kit.database.writing() as tx:
        await tx.lock_globals()
        await update_model(tx, model_id, replace(NO_UPDATE, aliases=aliases), act)
    await kit.feed.poll()


async def test_a_name_means_the_model_with_that_id_or_alias(kit: Kit) -> None:
    """An id before an alias; other texts mean nothing, in whichever case they are written."""
    await kit.model("mistral")
    await alias(kit, "mistral", "Mistral 7B", "llama")
    watcher = await watching(kit, "llama", "Mistral 7B", "mistral", "mistral 7b", "gpt")
    assert await told(watcher) == {
        "llama": "llama",
        "Mistral 7B": "mistral",
        "mistral": "mistral",
        "mistral 7b": "",
        "gpt": "",
    }


async def test_changes_of_aliases_are_told(kit: Kit) -> None:
    """Given, moved to another model, taken; a new model's id, too; and nothing to whom it does not concern."""
    await kit.model("mistral")
    watcher = await watching(kit, "fast", "good")
    assert await told(watcher) == {"fast": "", "good": ""}
    await alias(kit, "llama", "fast")
    assert await told(watcher) == {"fast": "llama"}
    await alias(kit, "llama", "other")
    assert await told(watcher) == {"fast": ""}
    await alias(kit, "mistral", "fast", "more")
    assert await told(watcher) == {"fast": "mistral"}
    await kit.model("good")
    await kit.feed.poll()
    assert await told(watcher) == {"good": "good"}
    await kit.service("chat")
    await kit.feed.poll()
    assert await told(watcher) == {}


async def test_a_change_while_a_name_is_looked_up_is_not_lost(kit: Kit) -> None:
    """An alias that is taken away after the look-up has read it."""
    await alias(kit, "llama", "fast")
    watcher = await watching(kit)
    feed = kit.feed._models
    watcher.models.follow(["fast"])
    feed._means["fast"], feed._unresolved["fast"] = "", None
    await alias(kit, "llama")
    assert await told(watcher) == {"fast": ""}
    assert not feed._unresolved


async def test_what_nobody_follows_is_forgotten(kit: Kit) -> None:
    """And nobody is told of it."""
    watcher = await watching(kit, "llama", "fast")
    await told(watcher)
    kit.feed.unsubscribe_keys(watcher, (), ["fast"])
    await alias(kit, "llama", "fast")
    assert "fast" not in await told(watcher)
    kit.feed.close(watcher)
    feed = kit.feed._models
    assert feed.is_idle
    assert (feed._called, feed._unresolved, feed._versions) == ({}, {}, {})


async def test_a_stream_follows_so_many_names_and_no_more(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends."""
    monkeypatch.setattr(model_feed, "FOLLOWED_MAX", 2)
    watcher = await watching(kit, "a", "b")
    with pytest.raises(InvalidRequestError, match="subscribe_models"):
        await kit.feed.subscribe_keys(watcher, (), ["c"])
