"""The control service away: a page that was read stays readable and says since when, and nothing is silent."""

from pathlib import Path

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import inference_service_pb2
from tallygate.control.v1.access_service_pb2 import DeleteBindingRequest, ListBindingsRequest
from tests.harness.console.console_harness import NOWHERE, Browser, Stage, console_of
from tests.harness.wire.callers import OPERATOR_TOKEN, guarded_control

HUB = "/accounts/acme/models"
TRIAL = "/accounts/acme/services/default-llama/claim-free-trial"
MONEY = "/accounts/acme/money"
TOP_UP = f"{MONEY}/top-up"
SINCE = 'datetime="2023-11-14T22:13:20Z"'


async def test_a_page_that_was_read_stays_readable(stage: Stage) -> None:
    """With a banner that says since when; once the service is back the page is fresh again."""
    browser = await stage.signed_in()
    await browser.get(HUB)
    with stage.control_away():
        await browser.get(HUB)
        stage.clock.advance(5)
        answer = await browser.get(HUB)
        assert answer.status_code == 503
        banner = answer.text[answer.text.index('<div id="away"') :].partition("</div>")[0]
        assert "The control service does not answer." in banner
        assert banner.count(SINCE) == 2
        assert "llama" in answer.text
    answer = await browser.get(HUB)
    assert answer.status_code == 200
    assert "does not answer" not in answer.text


async def test_a_page_that_was_never_read_says_so(stage: Stage) -> None:
    """It is tried again by itself; a part of it says it by its status."""
    browser = await stage.signed_in()
    with stage.control_away():
        answer = await browser.get("/accounts/acme/services?status=RUNNING")
        assert answer.status_code == 503
        assert "data-retry" in answer.text
        part = await browser.get(f"{HUB}?part=cards")
        assert (part.status_code, part.text) == (503, "The control service does not answer.")


async def test_a_change_while_it_is_away_keeps_what_was_typed(stage: Stage) -> None:
    """And can be sent again from the page that says so, under the same key: it is done once."""
    browser = await stage.signed_in()
    page = await browser.get(TRIAL)
    with stage.control_away():
        failed = await browser.send(TRIAL, page, note="what was typed")
        assert failed.status_code == 503
        assert "does not answer" in failed.text
        assert 'name="note" value="what was typed"' in failed.text
    assert (await browser.send(TRIAL, failed)).status_code == 303
    assert await stage.control.status() != inference_service_pb2.SERVICE_STATUS_NOT_ENABLED


async def test_a_form_of_a_copy_has_another_key(stage: Stage) -> None:
    """With the one that the page was sent with, what is typed next would be taken for what is done."""
    browser = await stage.signed_in()
    assert (await browser.submit(TOP_UP, amount_nanos="1")).status_code == 303
    with stage.control_away():
        copy = await browser.get(TOP_UP)
        assert copy.status_code == 503
    for _ in range(2):
        assert (await browser.send(TOP_UP, copy, amount_nanos="1")).status_code == 303
    assert "3.00 USD" in (await browser.get("/accounts/acme/money")).text


async def test_a_page_that_somebody_may_no_longer_read_is_not_shown(stage: Stage) -> None:
    """Neither one that was asked for meanwhile, nor any other once the roles were read again."""
    secret = await stage.token_of(role_pb2.ROLE_OWNER)
    bindings = (await stage.control.access.ListBindings(ListBindingsRequest(scope="accounts/acme"))).bindings
    browser = await stage.signed_in(secret)
    for path in (HUB, MONEY):
        assert (await browser.get(path)).status_code == 200
    await stage.control.access.DeleteBinding(DeleteBindingRequest(name=bindings[0].name))
    assert (await browser.get(MONEY)).status_code == 404
    with stage.control_away():
        assert "Ledger" not in (await browser.get(MONEY)).text
        assert "llama" in (await browser.get(HUB)).text
    stage.clock.advance(60)
    assert (await browser.get("/accounts/acme/keys")).status_code == 404
    with stage.control_away():
        assert "llama" not in (await browser.get(HUB)).text


async def test_somebody_stays_signed_in(stage: Stage) -> None:
    """However long the service is away, up to the session's own end."""
    browser = await stage.signed_in()
    await browser.get(HUB)
    with stage.control_away():
        stage.clock.advance(60)
        assert (await browser.get(HUB)).status_code == 503
    assert (await browser.get(HUB)).status_code == 200


async def test_another_replica_answers_where_one_is_away(tmp_path: Path) -> None:
    """Nobody notices."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        async with console_of(f"{NOWHERE},{control.address}") as app:
            browser = Browser(app)
            assert (await browser.sign_in(OPERATOR_TOKEN)).status_code == 303
            page = await browser.get(HUB)
            assert page.status_code == 200
            assert "does not answer" not in page.text


async def test_what_reads_itself_again_hears_of_it_without_an_error(stage: Stage) -> None:
    """Browsers write each answer of 400 and above down; so a poll has the status in a header."""
    browser = await stage.signed_in()
    part, poll = f"{HUB}?part=cards", {"x-poll": "1"}
    assert "x-status" not in (await browser.get(part, headers=poll)).headers
    with stage.control_away():
        answer = await browser.get(part, headers=poll)
        assert (answer.status_code, answer.headers["x-status"]) == (200, "503")
        assert answer.text == "The control service does not answer."
        assert (await browser.get(part)).status_code == 503
    answer = await stage.browser().get(part, headers=poll)
    assert (answer.status_code, answer.headers["x-status"]) == (200, "401")
