"""Operations: accounts, the catalogue and its prices, nodes, leases, the audit log."""

import re

import pytest
from google.protobuf.duration_pb2 import Duration

from tallygate.access.v1 import role_pb2
from tallygate.control.v1 import account_pb2, account_service_pb2, catalog_service_pb2, model_pb2
from tests.harness.console.console_harness import Browser, Stage

ACCOUNTS = "/operations/accounts"
CREATE_ACCOUNT = "/operations/create-account"
SETTINGS = "/accounts/acme/settings"
CATALOGUE = "/operations/models"
MODEL = f"{CATALOGUE}/llama"
PUBLISH = f"{MODEL}/publish-price"
AUDIT = "/operations/audit"
IN = "input_nanos_per_million_tokens"
OUT = "output_nanos_per_million_tokens"
MODEL_FIELDS = (
    "trial_offer.quota_tokens",
    "trial_offer.valid_for",
    "reservation_price.input_nanos_per_thousand_tpm_day",
    "reservation_price.output_nanos_per_thousand_tpm_day",
    "smallest_request_tokens",
    "output_tokens_max",
    "whole_output_tokens_default",
)
PLATFORM = (
    ACCOUNTS,
    CATALOGUE,
    MODEL,
    "/operations/nodes",
    "/operations/leases",
    AUDIT,
    CREATE_ACCOUNT,
    "/operations/create-model",
    PUBLISH,
    f"{MODEL}/edit",
    f"{MODEL}/retire",
    "/accounts/acme/pots",
    "/accounts/acme/audit",
    SETTINGS,
)


async def account_of(stage: Stage, name: str = "accounts/acme") -> account_pb2.Account:
    return (await stage.control.accounts.GetAccount(account_service_pb2.GetAccountRequest(name=name))).account


async def model_of(stage: Stage, name: str = "models/llama") -> model_pb2.Model:
    return (await stage.control.catalogue.GetModel(catalog_service_pb2.GetModelRequest(name=name))).model


async def publish(browser: Browser, **typed: str) -> tuple[int, str]:
    """By both presses; the last answer's status, and what it says."""
    reviewed = await browser.submit(PUBLISH, **typed)
    if reviewed.status_code != 200:
        return reviewed.status_code, reviewed.text
    done = await browser.send(PUBLISH, reviewed)
    return done.status_code, done.text


def _value(page: str, name: str) -> str:
    """What a field of a page has."""
    found = re.search(rf'<input id="{re.escape(name)}" [^>]*value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


@pytest.mark.parametrize("path", PLATFORM)
async def test_an_operator_sees_each_page(stage: Stage, path: str) -> None:
    """And it is in order."""
    browser = await stage.signed_in()
    page = await browser.get(path)
    assert page.status_code == 200
    assert page.text.count("<h1>") == 1


async def test_an_owner_is_shown_no_operations(stage: Stage) -> None:
    """Neither in the navigation, nor by an address; the own account's log is theirs to read."""
    browser = await stage.signed_in(await stage.token_of(role_pb2.ROLE_OWNER))
    page = await browser.get("/accounts/acme/money")
    assert "/operations/" not in page.text
    assert (await browser.get("/operations/nodes")).status_code == 403
    assert (await browser.get("/accounts/acme/audit")).status_code == 200
    assert "Publish a price" not in (await browser.get(MODEL)).text
    assert (await publish(browser, **{IN: "1", OUT: "1"}))[0] == 403
    assert (await browser.submit(f"{MODEL}/retire")).status_code == 403
    assert 'name="credit_limit_nanos"' not in (await browser.get(SETTINGS)).text
    assert (await browser.submit(SETTINGS, display_name="Acme", overdue_policy="STOP_ALL")).status_code == 303
    assert (await account_of(stage)).display_name == "Acme"


async def test_an_account_is_created_and_given_credit(stage: Stage) -> None:
    """Its figures are exact, and what was not changed is not sent."""
    browser = await stage.signed_in()
    done = await browser.submit(
        CREATE_ACCOUNT, name="globex", currency_code="EUR", display_name="Globex", credit_limit_nanos="0.000000001"
    )
    assert done.headers["location"] == "/accounts/globex/money", done.text
    account = await account_of(stage, "accounts/globex")
    assert (account.currency_code, account.credit_limit_nanos) == ("EUR", 1)
    page = await browser.get(ACCOUNTS)
    assert "Globex" in page.text
    assert 'value="1000000000"' in page.text
    settings = "/accounts/globex/settings"
    typed = {"display_name": "Globex", "overdue_policy": "KEEP_FUNDED", "credit_limit_nanos": "5"}
    await browser.submit(settings, **typed, overdue_floor_nanos="0.01")
    account = await account_of(stage, "accounts/globex")
    assert (account.credit_limit_nanos, account.overdue_floor_nanos) == (5_000_000_000, 10_000_000)
    assert account.overdue_policy == account_pb2.OVERDUE_POLICY_KEEP_FUNDED
    refused = await browser.submit(settings, **{**typed, "credit_limit_nanos": "-1"})
    assert refused.status_code == 400
    assert 'value="-1"' in refused.text


async def test_what_another_operator_changed_meanwhile_stays(stage: Stage) -> None:
    """A credit limit that was on the page before is not given again, and a second press finds the change done."""
    browser = await stage.signed_in()
    page = await browser.get(SETTINGS)
    update = account_service_pb2.UpdateAccountRequest(name="accounts/acme", credit_limit_nanos=7)
    await stage.control.accounts.UpdateAccount(update)
    typed = {"display_name": "Acme", "overdue_policy": "STOP_ALL", "credit_limit_nanos": "0.00"}
    for _ in range(2):
        done = await browser.send(SETTINGS, page, **typed, overdue_floor_nanos="0.5")
        assert done.status_code == 303, done.text
    account = await account_of(stage)
    assert (account.display_name, account.credit_limit_nanos) == ("Acme", 7)
    assert account.overdue_floor_nanos == 500_000_000
    edit = f"{MODEL}/edit"
    page = await browser.get(edit)
    price = model_pb2.ReservationPrice(input_nanos_per_thousand_tpm_day=5, output_nanos_per_thousand_tpm_day=6)
    await stage.control.catalogue.UpdateModel(
        catalog_service_pb2.UpdateModelRequest(name="models/llama", reservation_price=price)
    )
    before = (await model_of(stage)).trial_offer
    unchanged = {name: _value(page.text, name) for name in MODEL_FIELDS}
    for _ in range(2):
        done = await browser.send(edit, page, **{**unchanged, "display_name": "Llama"})
        assert done.status_code == 303, done.text
    model = await model_of(stage)
    assert (model.display_name, model.reservation_price, model.trial_offer) == ("Llama", price, before)


async def test_an_account_is_closed_and_opened_again(stage: Stage) -> None:
    """Its page says so."""
    browser = await stage.signed_in()
    assert "Its services stop at once" in (await browser.get("/accounts/acme/close")).text
    await browser.submit("/accounts/acme/close")
    assert "Closed" in (await browser.get("/accounts/acme/money")).text
    await browser.submit("/accounts/acme/reopen")
    assert not (await account_of(stage)).HasField("close_time")


async def test_a_price_is_looked_at_before_it_is_published(stage: Stage) -> None:
    """Beside the one in force; the first press publishes nothing."""
    browser = await stage.signed_in()
    reviewed = await browser.submit(PUBLISH, **{IN: "0.25", OUT: "1.000000001"})
    assert "Nothing is published yet." in reviewed.text
    values = [int(one) for one in re.findall(r'<data class="amount" value="(\d+)"', reviewed.text)]
    assert values == [
        1_000,
        250_000_000,
        1_000,
        250_000_000,
        1_000,
        250_000_000,
        1_000,
        1_000_000_001,
        1_000,
        1_000_000_001,
    ]
    assert (await model_of(stage)).current_price.version == 1
    for _ in range(2):
        assert (await browser.send(PUBLISH, reviewed)).headers["location"] == MODEL
    price = (await model_of(stage)).current_price
    assert (price.version, price.input_nanos_per_million_tokens) == (2, 250_000_000)
    assert price.reasoning_nanos_per_million_tokens == 1_000_000_001


async def test_a_price_of_zero_has_to_be_meant(stage: Stage) -> None:
    """Zero asks once; what is left out of what has to be said is refused beside its field."""
    browser = await stage.signed_in()
    status, said = await publish(browser, **{IN: "0", OUT: "1"})
    assert status == 400
    assert "tick this if it is meant" in said
    assert 'value="0"' in said
    assert (await publish(browser, **{IN: "0", OUT: "1", "zero_is_meant": "yes"}))[0] == 303
    assert (await model_of(stage)).current_price.input_nanos_per_million_tokens == 0
    status, said = await publish(browser, **{IN: "1"})
    assert status == 400
    assert f'id="{OUT}-said"' in said


async def test_a_price_that_is_to_come_is_withdrawn(stage: Stage) -> None:
    """Only such a one has the button; a time that is past is refused beside its field."""
    browser = await stage.signed_in()
    status, said = await publish(browser, **{IN: "1", OUT: "1", "effective_time": "2020-01-01T00:00"})
    assert status == 400
    assert 'id="effective_time-said" class="hint"><span class="error">' in said
    assert (await publish(browser, **{IN: "1", OUT: "1", "effective_time": "2030-01-01T00:00"}))[0] == 303
    page = await browser.get(MODEL)
    assert re.findall(r'href="/operations/models/llama/prices/(\d+)/withdraw"', page.text) == ["2"]
    await browser.submit(f"{MODEL}/prices/2/withdraw")
    assert "Withdrawn" in (await browser.get(MODEL)).text


async def test_a_model_is_created_changed_and_retired(stage: Stage) -> None:
    """What is left empty stays; a trial without a quota is withdrawn."""
    browser = await stage.signed_in()
    done = await browser.submit(
        "/operations/create-model",
        **{
            "name": "qwen",
            "aliases.aliases": "Qwen/Qwen3\nqwen-3",
            "trial_offer.quota_tokens": "5,000",
            "trial_offer.valid_for": "30",
            "reservation_price.input_nanos_per_thousand_tpm_day": "0.5",
        },
    )
    assert done.headers["location"] == f"{CATALOGUE}/qwen", done.text
    model = await model_of(stage, "models/qwen")
    assert list(model.aliases) == ["Qwen/Qwen3", "qwen-3"]
    assert (model.trial_offer.quota_tokens, model.trial_offer.valid_for.seconds) == (5_000, 30 * 86_400)
    assert model.reservation_price.input_nanos_per_thousand_tpm_day == 500_000_000
    edit = f"{CATALOGUE}/qwen/edit"
    form = await browser.get(edit)
    assert 'value="5000"' in form.text
    assert 'value="0.50"' in form.text
    await browser.send(edit, form, display_name="Qwen", **{"aliases.aliases": "qwen-3"})
    model = await model_of(stage, "models/qwen")
    assert (model.display_name, list(model.aliases), model.HasField("trial_offer")) == ("Qwen", ["qwen-3"], False)
    assert model.reservation_price.input_nanos_per_thousand_tpm_day == 500_000_000
    assert (model.smallest_request_tokens, model.whole_output_tokens_default) == (16, 4_096)
    await browser.submit(f"{CATALOGUE}/qwen/edit", **{"trial_offer.quota_tokens": "70"})
    hours = model_pb2.TrialOffer(quota_tokens=70, valid_for=Duration(seconds=5_400))
    await stage.control.catalogue.UpdateModel(
        catalog_service_pb2.UpdateModelRequest(name="models/qwen", trial_offer=hours)
    )
    form = await browser.get(edit)
    assert re.search(r'name="trial_offer.valid_for" type="text" value="90m"', form.text)
    await browser.send(edit, form, **{"trial_offer.quota_tokens": "70", "trial_offer.valid_for": "90m"})
    assert (await model_of(stage, "models/qwen")).trial_offer == hours
    await browser.submit(edit, **{"trial_offer.quota_tokens": "70", "trial_offer.valid_for": "36h"})
    assert (await model_of(stage, "models/qwen")).trial_offer.valid_for.seconds == 36 * 3_600
    refused = await browser.submit(edit, **{"trial_offer.quota_tokens": "70", "trial_offer.valid_for": "1.5d"})
    assert "is no length of time; write it as 90d, 12h, 15m or 30s." in refused.text
    await browser.submit(f"{CATALOGUE}/qwen/retire")
    assert "Retired" in (await browser.get(f"{CATALOGUE}/qwen")).text
    await browser.submit(f"{CATALOGUE}/qwen/restore")
    assert not (await model_of(stage, "models/qwen")).HasField("retire_time")


async def test_the_audit_log_is_filtered_by_the_service(stage: Stage) -> None:
    """By account, resource, RPC, outcome and time; what cannot be meant is said, and kept."""
    browser = await stage.signed_in()
    assert "CreateModel" in (await browser.get(AUDIT)).text
    assert "CreateModel" not in (await browser.get(f"{AUDIT}?account=acme")).text
    assert "CreateModel" not in (await browser.get("/accounts/acme/audit")).text
    assert "CreateModel" in (await browser.get(f"{AUDIT}?resource=models/llama&outcome=CHANGED")).text
    assert "No entry is like that" in (await browser.get(f"{AUDIT}?start_time=2030-01-01T00:00")).text
    for query in ("start_time=yesterday", "account=A!"):
        refused = await browser.get(f"{AUDIT}?{query}")
        assert refused.status_code == 400
        assert f'value="{query.partition("=")[2]}"' in refused.text


async def test_leases_and_pots_say_what_the_service_says(stage: Stage) -> None:
    """Money's pot is the account's; a filter that names nothing finds nothing."""
    browser = await stage.signed_in()
    pots = await browser.get("/accounts/acme/pots")
    assert "Money" in pots.text
    assert "1,000,000,000" in pots.text
    assert "No lease is like that" in (await browser.get("/operations/leases?node=n1&closed=yes")).text
