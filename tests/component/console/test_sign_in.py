"""The sign-in by a token, sessions and their cookies, and what every answer has."""

import re
from pathlib import Path

import pytest

from tallygate.console.sessions import IDLE_S, WHOLE_LIFE_S
from tallygate.console.site import ConsoleSettings
from tests.harness.console.console_harness import (
    NOWHERE,
    Browser,
    Stage,
    console_of,
    console_stage,
    site_of,
)
from tests.harness.wire.callers import OPERATOR_TOKEN
from tests.harness.wire.control_fleet import running_control

HUB = "/accounts/acme/models"


def cookies_of(response: object) -> list[str]:
    """What an answer has the browser keep."""
    headers: list[str] = response.headers.get_list("set-cookie")  # type: ignore[attr-defined]
    return headers


async def test_somebody_signs_in_and_comes_to_the_page_that_they_asked_for(stage: Stage) -> None:
    """By way of the sign-in page; the token is in no address and on no page."""
    browser = stage.browser()
    asked = await browser.get(f"{HUB}?alias=x")
    assert asked.headers["location"] == "/sign-in?next=%2Faccounts%2Facme%2Fmodels%3Falias%3Dx"
    page = await browser.get(asked.headers["location"])
    answer = await browser.send("/sign-in", page, token=OPERATOR_TOKEN)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HUB}?alias=x")
    shown = await browser.get(answer.headers["location"])
    assert shown.status_code == 200
    assert OPERATOR_TOKEN not in shown.text


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "Paste an access token"), ("two words", "one word of visible ASCII"), ("tgt_wrong", "")],
)
async def test_what_is_no_token_lets_nobody_in(stage: Stage, token: str, said: str) -> None:
    """The page says why, and does not repeat what was typed."""
    browser = stage.browser()
    answer = await browser.sign_in(token)
    assert answer.status_code in (400, 401)
    assert 'role="alert"' in answer.text
    assert said in answer.text
    assert not token or token not in answer.text
    assert (await browser.get(HUB)).status_code == 303
    assert len(site_of(stage.app).sessions) == 0


async def test_a_session_has_an_id_that_no_browser_had_before(stage: Stage) -> None:
    """Whoever planted a cookie gets nothing by it."""
    browser = stage.browser()
    planting = {"cookie": "tallygate-session=planted; tallygate-browser=known"}
    answer = await browser.client.post("/sign-in", data={"csrf": "known", "token": OPERATOR_TOKEN}, headers=planting)
    assert answer.status_code == 303
    assert "tallygate-session=planted" not in "".join(cookies_of(answer))
    assert (await stage.browser().get(HUB, headers=planting)).status_code == 303


async def test_signing_in_again_ends_the_session_before(stage: Stage) -> None:
    """Its cookie opens nothing any more."""
    browser = stage.browser()
    page = await browser.get("/sign-in")
    mark = browser.client.cookies["tallygate-browser"]
    await browser.send("/sign-in", page, token=OPERATOR_TOKEN)
    first = browser.client.cookies["tallygate-session"]
    both = {"cookie": f"tallygate-session={first}; tallygate-browser={mark}"}
    await browser.client.post("/sign-in", data={"csrf": mark, "token": OPERATOR_TOKEN}, headers=both)
    assert (await stage.browser().get(HUB, headers={"cookie": f"tallygate-session={first}"})).status_code == 303
    assert len(site_of(stage.app).sessions) == 1


async def test_a_sign_in_needs_the_page_that_this_browser_has_read(stage: Stage) -> None:
    """So that nobody is signed in as somebody else without knowing it."""
    page = await stage.browser().get("/sign-in")
    other = stage.browser()
    await other.get("/sign-in")
    answer = await other.send("/sign-in", page, token=OPERATOR_TOKEN)
    assert answer.status_code == 403
    assert (await other.get(HUB)).status_code == 303


async def test_a_form_of_another_site_is_refused(stage: Stage) -> None:
    """Also where it knew everything else."""
    browser = stage.browser()
    browser.client.headers["sec-fetch-site"] = "cross-site"
    assert (await browser.sign_in(OPERATOR_TOKEN)).status_code == 403


async def test_cookies_are_for_this_host_and_no_script(tmp_path: Path) -> None:
    """By TLS only where there is TLS, and then for this very host."""
    settings = ConsoleSettings(public_url="https://console.example", has_tls=True)
    async with console_stage(tmp_path, settings) as stage:
        browser = Browser(stage.app, "https://console.example")
        page = await browser.get("/sign-in")
        answer = await browser.send("/sign-in", page, token=OPERATOR_TOKEN)
        for cookie in (*cookies_of(page), *cookies_of(answer)):
            assert re.match(r"__Host-tallygate-\w+=", cookie)
            assert {"HttpOnly", "Path=/", "SameSite=lax", "Secure"} <= set(cookie.split("; "))
            assert "Domain" not in cookie
        assert answer.headers["strict-transport-security"]
        assert (await browser.get(HUB)).status_code == 200


async def test_cookies_without_tls(stage: Stage) -> None:
    """On this machine alone a browser takes them as well."""
    browser = stage.browser()
    page = await browser.get("/sign-in")
    for cookie in (*cookies_of(page), *cookies_of(await browser.send("/sign-in", page, token=OPERATOR_TOKEN))):
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "Secure" not in cookie


@pytest.mark.parametrize(("step_s", "steps"), [(IDLE_S, 1), (IDLE_S // 2, WHOLE_LIFE_S // IDLE_S * 2)])
async def test_a_session_ends_and_the_same_page_comes_back(stage: Stage, step_s: int, steps: int) -> None:
    """Idle or not; a live part is told by the status."""
    browser = await stage.signed_in()
    for _ in range(steps):
        assert (await browser.get("/sign-in")).headers["location"] == "/"
        stage.clock.advance(step_s)
    assert (await browser.get(f"{HUB}?part=cards")).status_code == 401
    asked = await browser.get(HUB)
    assert asked.headers["location"] == "/sign-in?next=%2Faccounts%2Facme%2Fmodels"


async def test_signing_out_ends_the_session(stage: Stage) -> None:
    """Nobody can go on with its cookie."""
    browser = await stage.signed_in()
    cookie = browser.client.cookies["tallygate-session"]
    await browser.send("/sign-out", await browser.get(HUB))
    other = stage.browser()
    other.client.cookies.set("tallygate-session", cookie)
    assert (await other.get(HUB)).status_code == 303
    assert len(site_of(stage.app).sessions) == 0


async def test_at_a_pair_that_asks_for_no_proof_a_button_lets_in(tmp_path: Path) -> None:
    """And the page says what that means."""
    async with running_control(tmp_path) as control, console_of(control.address) as app:
        await control.stock()
        browser = Browser(app)
        page = await browser.get("/sign-in")
        assert "asks nobody for proof" in page.text
        assert (await browser.send("/sign-in", page)).headers["location"] == "/"
        assert (await browser.get(HUB)).status_code == 200


async def test_a_button_lets_nobody_in_where_proof_is_asked_for(stage: Stage) -> None:
    """Whatever a form says."""
    browser = stage.browser()
    answer = await browser.send("/sign-in", await browser.get("/sign-in"), how="open", token="")
    assert answer.status_code == 401
    assert (await browser.get(HUB)).status_code == 303


async def test_the_control_service_is_away_at_the_sign_in() -> None:
    """The page says so, and is tried again by itself: then it has all ways in."""
    async with console_of(NOWHERE) as app:
        page = await Browser(app).get("/sign-in")
        assert page.status_code == 503
        assert "data-retry>The control service does not answer." in page.text


@pytest.mark.parametrize(
    "path", ["/sign-in", HUB, f"{HUB}?part=cards", "/nowhere", "/static/console.css", "/accounts/ACME!/models", "/"]
)
async def test_every_answer_has_the_headers(stage: Stage, path: str) -> None:
    """Nothing from outside is let in, whatever was answered; pages are kept by no cache."""
    for browser in (stage.browser(), await stage.signed_in()):
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("public, max-age=31536000, immutable" if "static" in path else "no-store")


async def test_a_mark_that_is_too_long_is_not_kept(stage: Stage) -> None:
    """The browser is given another one; what is remembered of strangers stays small."""
    answer = await stage.browser().get("/sign-in", headers={"cookie": f"tallygate-browser={'x' * 101}"})
    assert answer.cookies["tallygate-browser"].startswith("random-")
    answer = await stage.browser().get("/sign-in", headers={"cookie": f"tallygate-browser={'x' * 100}"})
    assert answer.cookies["tallygate-browser"] == "x" * 100


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "console.example@evil"])
async def test_a_name_that_was_made_to_lead_here_is_refused(stage: Stage, host: str) -> None:
    """A page of somebody else's could read everything otherwise, where nobody is asked for proof."""
    answer = await stage.browser().get("/sign-in", headers={"host": host})
    assert answer.status_code == 421
    assert "--public-url" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:7080", "[::1]:7080", "localhost", "10.0.0.7:7080"])
async def test_addresses_in_digits_are_answered_to(stage: Stage, host: str) -> None:
    """Nobody can make them lead elsewhere."""
    assert (await stage.browser().get("/sign-in", headers={"host": host})).status_code == 200


async def test_what_fails_here_says_nothing_of_the_inside(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log does."""
    browser = await stage.signed_in()
    monkeypatch.setattr(site_of(stage.app).templates, "get_template", lambda _name: 1 / 0)
    answer = await browser.get(HUB)
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text
    assert answer.headers["content-security-policy"]
