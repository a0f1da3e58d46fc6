"""Changes: by a form of one's own session alone, once, and what is refused is kept."""

import asyncio
import html
import re

import pytest

from tallygate.control.v1 import inference_service_pb2
from tests.harness.console.console_harness import Stage, site_of

HUB = "/accounts/acme/models"
SERVICE = "/accounts/acme/services/default-llama"
TRIAL = f"{SERVICE}/claim-free-trial"


async def status(stage: Stage) -> str:
    return inference_service_pb2.ServiceStatus.Name(await stage.control.status())


async def test_a_trial_is_claimed_by_a_page_that_says_what_it_does(stage: Stage) -> None:
    """Then the service's page says what was done, once, and shows what is left."""
    browser = await stage.signed_in()
    hub = await browser.get(HUB)
    assert f'href="{TRIAL}"' in hub.text
    page = await browser.get(TRIAL)
    assert "1,000 tokens of any kind" in page.text
    done = await browser.send(TRIAL, page)
    assert (done.status_code, done.headers["location"]) == (303, SERVICE)
    shown = await browser.get(SERVICE)
    assert "The free trial is claimed." in shown.text
    assert "1,000 of 1,000 trial tokens are left" in shown.text
    assert "is claimed" not in (await browser.get(SERVICE)).text
    hub = await browser.get(HUB)
    assert "1,000 of 1,000 trial tokens are left" in hub.text
    assert f'href="{TRIAL}"' not in hub.text


async def test_a_refusal_is_the_services_own_sentence(stage: Stage) -> None:
    """On the page of the form, with the status of a refusal; nothing was done."""
    browser = await stage.signed_in()
    await browser.submit(TRIAL)
    refused = await browser.submit(TRIAL)
    assert refused.status_code == 409
    said = re.search(r'<p class="error" role="alert">([^<]+)</p>', refused.text)
    assert said is not None
    assert "trial" in html.unescape(said[1])
    assert 'name="csrf"' in refused.text


async def test_two_presses_at_once_do_it_once(stage: Stage) -> None:
    """The form has a key, under which the service does a thing once; both lead to the page."""
    browser = await stage.signed_in()
    page = await browser.get(TRIAL)
    first, second = await asyncio.gather(browser.send(TRIAL, page), browser.send(TRIAL, page))
    assert (first.status_code, second.status_code) == (303, 303)
    assert (await browser.get(SERVICE)).text.count("is claimed") == 1


@pytest.mark.parametrize("csrf", ["", "wrong", "of another session", "é"])
async def test_a_form_that_no_page_of_the_session_was_does_nothing(stage: Stage, csrf: str) -> None:
    """Whatever it says instead of the session's own word."""
    browser, other = await stage.signed_in(), await stage.signed_in()
    if csrf == "of another session":
        found = re.search(r'name="csrf" value="([^"]+)"', (await other.get(HUB)).text)
        assert found is not None
        csrf = found[1]
    answer = await browser.submit(TRIAL, csrf=csrf)
    assert answer.status_code == 403
    assert "Nothing was done" in answer.text
    assert await status(stage) == "SERVICE_STATUS_NOT_ENABLED"


async def test_a_form_from_another_site_does_nothing(stage: Stage) -> None:
    """Browsers say where a form comes from."""
    browser = await stage.signed_in()
    page = await browser.get(TRIAL)
    browser.client.headers["sec-fetch-site"] = "same-site"
    assert (await browser.send(TRIAL, page)).status_code == 403
    assert await status(stage) == "SERVICE_STATUS_NOT_ENABLED"


async def test_a_change_without_a_session_is_not_done(stage: Stage) -> None:
    """Whoever signs in again comes back to the page, which says that nothing was done."""
    browser = await stage.signed_in()
    page = await browser.get(TRIAL)
    site_of(stage.app).sessions._by_id.clear()
    asked = await browser.send(TRIAL, page)
    assert asked.status_code == 303
    assert "nothing was done" in (await browser.get(asked.headers["location"])).text
    assert await status(stage) == "SERVICE_STATUS_NOT_ENABLED"


async def test_a_get_changes_nothing(stage: Stage) -> None:
    """Neither does a form of another kind."""
    browser = await stage.signed_in()
    await browser.get(f"{TRIAL}?csrf=x&idempotency_key=y")
    answer = await browser.client.post(TRIAL, json={"csrf": "x"})
    assert answer.status_code == 415
    assert (await browser.client.post(HUB)).status_code == 405
    assert await status(stage) == "SERVICE_STATUS_NOT_ENABLED"


async def test_a_form_is_bounded(stage: Stage) -> None:
    """Before it is read whole."""
    browser = await stage.signed_in()
    assert (await browser.client.post(TRIAL, data={"x": "y" * 70_000})).status_code == 413
    assert (await browser.client.post(TRIAL, data={f"x{number}": "y" for number in range(300)})).status_code == 400


async def test_a_credential_that_was_revoked_ends_the_session(stage: Stage) -> None:
    """At the next page; another session of another credential goes on."""
    browser = await stage.signed_in()
    (session,) = site_of(stage.app).sessions._by_id.values()
    session.credential = "tgt_revoked"
    assert (await browser.get(HUB)).headers["location"].startswith("/sign-in?next=")
    assert len(site_of(stage.app).sessions) == 0
