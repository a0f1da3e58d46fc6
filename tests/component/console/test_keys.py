"""Keys: a secret that is shown once, what a key is for, and what is done about it."""

import html
import logging
import re

import pytest

from tallygate.control.v1 import api_key_pb2, key_service_pb2
from tests.harness.console.console_harness import Browser, Stage, site_of

LIST = "/accounts/acme/keys"
CREATE = "/accounts/acme/create-key"
KEY = "/accounts/acme/keys/app"
SECRET = re.compile(r'<pre id="secret" tabindex="0">([^<]+)</pre>')


async def key_of(stage: Stage, name: str = "accounts/acme/keys/app") -> api_key_pb2.ApiKey:
    return (await stage.control.keys.GetKey(key_service_pb2.GetKeyRequest(name=name))).key


async def create(browser: Browser, **typed: str) -> str:
    """Creates a key by the form; its secret."""
    made = await browser.submit(CREATE, **{"name": "app", **typed})
    assert made.status_code == 200, made.text
    found = SECRET.search(made.text)
    assert found is not None
    return html.unescape(found[1])


async def test_a_secret_is_shown_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """On the answer to the form, which no cache keeps; on no other page, in no address, log or copy of a page."""
    caplog.set_level(logging.DEBUG)
    browser = await stage.signed_in()
    page = await browser.get(CREATE)
    made = await browser.send(CREATE, page, name="app", display_name="The app")
    found = SECRET.search(made.text)
    assert found is not None
    secret = html.unescape(found[1])
    assert secret.startswith(f"sk-{(await key_of(stage)).secret_id}-")
    assert made.headers["cache-control"] == "no-store"
    assert "location" not in made.headers
    again = await browser.send(CREATE, page, name="app", display_name="The app")
    assert "sent twice" in again.text
    pages = [again, *[await browser.get(path) for path in (LIST, KEY, f"{KEY}/edit", f"{KEY}/rotate", CREATE)]]
    assert all(one.status_code == 200 and secret not in one.text for one in pages)
    assert secret not in caplog.text
    (session,) = site_of(stage.app).sessions._by_id.values()
    copies = [session.copies.of(address) for address in (LIST, KEY, CREATE, f"{KEY}/rotate")]
    assert [copy is not None and secret not in copy.html for copy in copies] == [True] * 4


async def test_a_key_is_for_what_was_typed(stage: Stage) -> None:
    """Ids become names; what is not named is all; the page shows it."""
    browser = await stage.signed_in()
    await create(
        browser,
        **{"scope.services": "default-llama", "networks.networks": "192.0.2.0/24", "expire_time": "2030-01-31T12:00"},
    )
    key = await key_of(stage)
    assert key.scope == api_key_pb2.KeyScope(services=["accounts/acme/services/default-llama"], all_models=True)
    assert list(key.networks.networks) == ["192.0.2.0/24"]
    assert key.expire_time.ToJsonString() == "2030-01-31T12:00:00Z"
    page = await browser.get(KEY)
    assert "192.0.2.0/24" in page.text
    assert "<code>default-llama</code>" in page.text


async def test_a_refusal_keeps_what_was_typed(stage: Stage) -> None:
    """With the service's sentence beside the field; nothing is made."""
    browser = await stage.signed_in()
    for typed, field in (
        ({"name": "app", "scope.services": "no such!"}, "scope.services"),
        ({"name": "A!"}, "name"),
        ({"name": "app", "expire_time": "tomorrow"}, "expire_time"),
        ({"name": "app", "temporary_for": "soon"}, "temporary_for"),
    ):
        refused = await browser.submit(CREATE, **typed, display_name="kept <b>")
        assert refused.status_code == 400
        assert f'id="{field}-said" class="hint"><span class="error">' in refused.text
        assert 'value="kept &lt;b&gt;"' in refused.text
        assert typed.get("scope.services", "") in refused.text


async def test_a_key_is_changed(stage: Stage) -> None:
    """What was not touched stays as it was, its end included."""
    browser = await stage.signed_in()
    await create(browser, expire_time="2030-01-31T12:00", **{"scope.models": "llama"})
    page = await browser.get(f"{KEY}/edit")
    assert 'value="2030-01-31T12:00"' in page.text
    done = await browser.send(
        f"{KEY}/edit", page, display_name="Other", expire_time="2030-01-31T12:00", **{"scope.models": "llama"}
    )
    assert done.headers["location"] == KEY
    key = await key_of(stage)
    assert (key.display_name, list(key.scope.models)) == ("Other", ["models/llama"])
    assert key.expire_time.ToJsonString() == "2030-01-31T12:00:00Z"
    await browser.submit(f"{KEY}/edit", expire_time="")
    assert not (await key_of(stage)).HasField("expire_time")


async def test_what_somebody_else_changed_meanwhile_stays(stage: Stage) -> None:
    """A key that was narrowed is not widened by who gives it another name, and a second press finds that done."""
    browser = await stage.signed_in()
    await create(browser, expire_time="2030-01-31T12:00")
    page = await browser.get(f"{KEY}/edit")
    narrowed = {"expire_time": "2029-01-01T00:00", "scope.models": "llama", "networks.networks": "192.0.2.0/24"}
    assert (await browser.submit(f"{KEY}/edit", **narrowed)).status_code == 303
    for _ in range(2):
        done = await browser.send(f"{KEY}/edit", page, display_name="Other", expire_time="2030-01-31T12:00")
        assert done.headers["location"] == KEY
    key = await key_of(stage)
    assert (key.display_name, list(key.scope.models)) == ("Other", ["models/llama"])
    assert list(key.networks.networks) == ["192.0.2.0/24"]
    assert key.expire_time.ToJsonString() == "2029-01-01T00:00:00Z"
    page = await browser.get(f"{KEY}/edit")
    for _ in range(2):
        done = await browser.send(
            f"{KEY}/edit", page, display_name="Other", expire_time="", **{"scope.models": "llama"}
        )
        assert done.headers["location"] == KEY
    assert not (await key_of(stage)).HasField("expire_time")


async def test_a_rotation_says_how_long_the_secret_before_is_valid(stage: Stage) -> None:
    """Another secret, and the one before until the hour that was chosen."""
    browser = await stage.signed_in()
    before = await create(browser)
    made = await browser.submit(f"{KEY}/rotate", overlap="1")
    found = SECRET.search(made.text)
    assert found is not None
    assert found[1] != before
    key = await key_of(stage)
    assert key.previous_secret_expire_time.seconds == stage.clock.now_us() // 1_000_000 + 3_600
    refused = await browser.submit(f"{KEY}/rotate", overlap="9999")
    assert refused.status_code == 400
    assert 'id="overlap-said" class="hint"><span class="error">' in refused.text


async def test_a_key_is_disabled_enabled_and_deleted(stage: Stage) -> None:
    """By pages that say what it does; the list says what was done."""
    browser = await stage.signed_in()
    await create(browser)
    assert "requests that run with it are told to stop" in (await browser.get(f"{KEY}/disable")).text
    assert (await browser.submit(f"{KEY}/disable")).headers["location"] == KEY
    page = await browser.get(KEY)
    assert "The key is disabled." in page.text
    assert f'href="{KEY}/enable"' in page.text
    await browser.submit(f"{KEY}/enable")
    assert not (await key_of(stage)).disabled
    assert (await browser.submit(f"{KEY}/delete")).headers["location"] == LIST
    assert (await key_of(stage)).HasField("delete_time")
    assert f'href="{KEY}/edit"' not in (await browser.get(KEY)).text
    assert (await browser.submit(f"{KEY}/delete")).status_code in (404, 409)


async def test_routes_of_a_key_are_typed_and_changed(stage: Stage) -> None:
    """A line each; what is left alone stays, and what is no route is said beside the field."""
    await stage.control.create_service("accounts/acme/services/chat")
    browser = await stage.signed_in()
    await create(browser, **{"routes.routes": "llama = chat\n"})
    (route,) = (await key_of(stage)).routes.routes
    assert (route.model, route.service) == ("models/llama", "accounts/acme/services/chat")
    page = await browser.get(f"{KEY}/edit")
    assert "\nllama = chat</textarea>" in page.text
    for typed, said in (("llama", "is no route; write MODEL = SERVICE"), ("llama = nothing", "routes.routes-said")):
        refused = await browser.submit(f"{KEY}/edit", **{"routes.routes": typed})
        assert (refused.status_code, said in refused.text) == (400, True), refused.text
    await browser.submit(f"{KEY}/edit", **{"display_name": "App", "routes.routes": "llama = chat"})
    assert len((await key_of(stage)).routes.routes) == 1
    await browser.submit(f"{KEY}/edit", **{"routes.routes": ""})
    assert not (await key_of(stage)).routes.routes
