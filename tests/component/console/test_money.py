"""Money: figures of the service to the nano, what operators pay in, and the statement of a month."""

import csv
import html
import io
import re
from datetime import UTC, datetime
from pathlib import Path

from tallygate.access.v1 import role_pb2
from tallygate.console.pages.money import FORECAST_S
from tallygate.control.v1 import account_service_pb2
from tests.harness.console.console_harness import Stage, add_row

MONEY = "/accounts/acme/money"
TOP_UP = f"{MONEY}/top-up"
ADJUST = f"{MONEY}/adjust"
STATEMENTS = "/accounts/acme/statements"


async def balance(stage: Stage) -> int:
    request = account_service_pb2.GetAccountRequest(name="accounts/acme")
    return (await stage.control.accounts.GetAccount(request)).account.balance_nanos


async def test_figures_are_the_services_own(stage: Stage) -> None:
    """To the nano: each amount on the page has them."""
    await stage.control.top_up(1_234_567_891)
    browser = await stage.signed_in()
    page = await browser.get(MONEY)
    assert await balance(stage) == 2_234_567_891
    assert '<dt>Balance</dt><dd><data class="amount" value="2234567891" title="2.234567891 USD' in page.text
    newest, oldest = re.findall(r'<td class="num"><data class="amount" value="(\d+)"', page.text)
    assert (newest, oldest) == ("1234567891", "1000000000")


async def test_money_is_paid_in_once(stage: Stage) -> None:
    """By a page that says what it does; a second press of the same form pays nothing more."""
    browser = await stage.signed_in()
    page = await browser.get(TOP_UP)
    for _ in range(2):
        done = await browser.send(TOP_UP, page, amount_nanos="12.000000001", reason="inv <1>")
        assert done.headers["location"] == MONEY
    assert await balance(stage) == 13_000_000_001
    page = await browser.get(MONEY)
    assert page.text.count("12.000000001 USD are paid in.") == 1
    assert "inv &lt;1&gt;" in page.text


async def test_a_correction_has_a_sign_and_a_reason(stage: Stage) -> None:
    """Without a reason the service refuses it, beside the field, and what was typed stays."""
    browser = await stage.signed_in()
    refused = await browser.submit(ADJUST, amount_nanos="-0.25", reason="")
    assert refused.status_code == 400
    assert 'id="reason-said" class="hint"><span class="error">' in refused.text
    assert 'value="-0.25"' in refused.text
    assert await balance(stage) == 1_000_000_000
    await browser.submit(ADJUST, amount_nanos="-0.25", reason="goodwill, taken back")
    assert await balance(stage) == 750_000_000
    assert "0.25 USD are taken away." in (await browser.get(MONEY)).text


async def test_what_is_no_amount_is_refused_beside_the_field(stage: Stage) -> None:
    """Nothing is rounded, and nothing is paid."""
    browser = await stage.signed_in()
    for typed in ("1.0000000001", "1e3", "", "0", "-1", "99999999999"):
        refused = await browser.submit(TOP_UP, amount_nanos=typed)
        assert refused.status_code == 400, typed
        assert 'id="amount_nanos-said" class="hint"><span class="error">' in refused.text, typed
        assert f'value="{typed}"' in refused.text
    assert await balance(stage) == 1_000_000_000


async def test_only_whoever_may_is_offered_to_pay_in(stage: Stage) -> None:
    """An owner sees the money and no such button; the service refuses the form as well."""
    browser = await stage.signed_in(await stage.token_of(role_pb2.ROLE_OWNER))
    page = await browser.get(MONEY)
    assert page.status_code == 200
    assert TOP_UP not in page.text
    refused = await browser.submit(TOP_UP, amount_nanos="1")
    assert refused.status_code == 403
    assert await balance(stage) == 1_000_000_000


async def test_a_ledger_is_paged_from_its_newest_line(stage: Stage) -> None:
    """The pages have every line once."""
    for number in range(60):
        await stage.control.top_up(number + 1)
    browser = await stage.signed_in()
    first = await browser.get(MONEY)
    found = re.search(r'href="([^"]+)">Next page', first.text)
    assert found is not None
    second = await browser.get(html.unescape(found[1]))
    amounts = [
        int(one)
        for page in (first, second)
        for one in re.findall(r'num"><data class="amount" value="(\d+)"', page.text)
    ]
    assert amounts == [*range(60, 0, -1), 1_000_000_000]


async def test_a_statement_adds_up_on_paper_and_as_a_file(stage: Stage) -> None:
    """To the nano, and both say what the service says."""
    await stage.control.top_up(1)
    request = account_service_pb2.GetStatementRequest(account="accounts/acme", month="2023-11")
    statement = (await stage.control.accounts.GetStatement(request)).statement
    browser = await stage.signed_in()
    page = await browser.get(f"{STATEMENTS}?month=2023-11&time_zone=Europe/Berlin")
    assert "Europe/Berlin" in page.text
    assert page.text.count("1.000000001 USD</data>") == 2
    sums = [int(one) for one in re.findall(r'<td class="num"><data class="amount" value="(-?\d+)"', page.text)]
    assert sums[-1] == sum(sums[:-1]) == statement.closing_balance_nanos == 1_000_000_001
    found = re.search(r'href="([^"]+statements\.csv[^"]*)"', page.text)
    assert found is not None
    file = await browser.get(html.unescape(found[1]))
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(file.text)))
    amounts = {row["kind"]: int(row["amount_nanos"]) for row in rows}
    assert amounts == {
        "opening balance": 0,
        "top-ups": 1_000_000_001,
        "credits": 0,
        "debits": 0,
        "closing balance": 1_000_000_001,
    }


async def test_a_statement_of_no_month_says_why(stage: Stage) -> None:
    """In the service's words, and keeps what was asked for."""
    browser = await stage.signed_in()
    for path in (STATEMENTS, f"{STATEMENTS}.csv"):
        for query in ("month=2023-13", "time_zone=Nowhere/None", "month=2099-01"):
            refused = await browser.get(f"{path}?{query}")
            assert refused.status_code == 400, query
            assert 'role="alert"' in refused.text
            assert f'value="{query.partition("=")[2]}"' in refused.text


async def test_the_page_says_how_long_the_money_lasts(stage: Stage, tmp_path: Path) -> None:
    """At the pace of the last 24 hours; where nothing was used, nothing is said."""
    await stage.control.top_up(1_000_000_000)
    stage.clock.advance(86_400)
    browser = await stage.signed_in()
    assert "used up" not in (await browser.get(MONEY)).text
    await add_row(
        tmp_path,
        "ledger_entries",
        account_id="acme",
        entry_number=100,
        kind="USAGE",
        amount_nanos=-1_000_000,
        **dict.fromkeys(("reason", "actor", "actor_note", "team"), ""),
        create_us=stage.clock.now_us() - 3_600_000_000,
    )
    stage.clock.advance(FORECAST_S)
    forecast = await stage.control.accounts.ForecastAccount(
        account_service_pb2.ForecastAccountRequest(name="accounts/acme")
    )
    used_up = forecast.used_up_time.ToDatetime()
    assert (used_up - datetime.fromtimestamp(stage.clock.now_us() / 10**6, UTC).replace(tzinfo=None)).days == 2_000
    assert f'used up by <time datetime="{used_up:%Y-%m-%dT%H:%M:%S}' in (await browser.get(MONEY)).text
