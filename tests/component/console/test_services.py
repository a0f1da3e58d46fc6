"""Online Inference and a service's page: what the service says, and the buttons that it says."""

import html
import re

import pytest

from tallygate.console.pages.service import EVENTS_MAX
from tallygate.control.v1 import (
    api_key_pb2,
    budget_pb2,
    catalog_service_pb2,
    key_service_pb2,
    lifecycle_service_pb2,
    limit_config_pb2,
    limit_service_pb2,
    model_pb2,
    team_service_pb2,
)
from tests.harness.console.console_harness import Stage

LIST = "/accounts/acme/services"
SERVICE = "/accounts/acme/services/default-llama"
CUSTOM = "/accounts/acme/services/chat"
MARKUP = '<script>alert("x")</script>'


async def create(stage: Stage, **typed: str) -> str:
    """Creates a service by the form; the page that it leads to."""
    browser = await stage.signed_in()
    done = await browser.submit("/accounts/acme/create-service", name="chat", model="models/llama", **typed)
    assert done.status_code == 303, done.text
    return str(done.headers["location"])


async def test_services_are_listed_and_filtered_by_the_service(stage: Stage) -> None:
    """By status and by model; what is asked for stays in the form."""
    browser = await stage.signed_in()
    assert SERVICE in (await browser.get(LIST)).text
    running = await browser.get(f"{LIST}?status=RUNNING")
    assert SERVICE not in running.text
    assert '<option value="RUNNING" selected>' in running.text
    assert SERVICE in (await browser.get(f"{LIST}?status=NOT_ENABLED&model=llama")).text
    assert SERVICE not in (await browser.get(f"{LIST}?model=other")).text
    assert (await browser.get(f"{LIST}?status=NONSENSE")).status_code == 200


async def test_a_list_is_paged_by_the_service(stage: Stage) -> None:
    """The next page goes on where this one ended, with the same filters."""
    for number in range(30):
        await stage.control.create_service(f"accounts/acme/services/s-{number:02}")
    browser = await stage.signed_in()
    first = await browser.get(f"{LIST}?model=llama")
    found = re.search(r'href="([^"]+)">Next page', first.text)
    assert found is not None
    second = await browser.get(html.unescape(found[1]))
    shown = [
        set(re.findall(r'<th scope="row"><a href="/accounts/acme/services/([^"]+)"', it.text)) for it in (first, second)
    ]
    assert [len(one) for one in shown] == [25, 6]
    assert not shown[0] & shown[1]
    assert "model=llama" in found[1]


async def test_buttons_are_those_that_the_service_says(stage: Stage) -> None:
    """A service that nobody has started cannot be resumed; one that is suspended can."""
    browser = await stage.signed_in()
    page = await browser.get(SERVICE)
    assert "How to start it" in page.text
    assert f'href="{SERVICE}/enable-postpaid"' in page.text
    assert f'href="{SERVICE}/resume"' not in page.text
    assert f'href="{SERVICE}/delete"' not in page.text
    assert (await browser.submit(f"{SERVICE}/enable-postpaid")).status_code == 303
    assert (await browser.submit(f"{SERVICE}/suspend")).status_code == 303
    page = await browser.get(SERVICE)
    assert "Suspended" in page.text
    assert "Why it is stopped" in page.text
    assert f'href="{SERVICE}/resume"' in page.text
    assert f'href="{SERVICE}/suspend"' not in page.text
    assert (await browser.submit(f"{SERVICE}/resume")).status_code == 303


@pytest.mark.parametrize("part", ["head", "events"])
async def test_a_change_shows_on_an_open_page(stage: Stage, part: str) -> None:
    """The part is another one; where nothing changed, nothing is sent."""
    browser = await stage.signed_in()
    before = await browser.get(f"{SERVICE}?part={part}")
    known = {"if-none-match": before.headers["etag"]}
    assert (await browser.get(f"{SERVICE}?part={part}", headers=known)).status_code == 304
    await stage.control.enable_postpaid()
    after = await browser.get(f"{SERVICE}?part={part}", headers=known)
    assert after.status_code == 200
    assert "ctivating" in after.text


async def test_the_hub_finds_a_model_by_what_clients_call_it(stage: Stage) -> None:
    """Its id or an alias; what nobody calls a model is said, and can be typed anew."""
    aliases = catalog_service_pb2.AliasList(aliases=["meta/llama"])
    await stage.control.catalogue.UpdateModel(
        catalog_service_pb2.UpdateModelRequest(name="models/llama", aliases=aliases)
    )
    browser = await stage.signed_in()
    for called, count in (("llama", 1), ("meta/llama", 1), ("lla", 0)):
        page = await browser.get("/accounts/acme/models", params={"model": called})
        assert page.text.count('<li class="card">') == count
        assert f'value="{called}"' in page.text
        assert ("No model has this id or alias." in page.text) == (not count)


async def test_of_many_events_the_newest_are_shown(stage: Stage) -> None:
    """However many there were before them."""
    name = (await create(stage)).removeprefix("/")
    for _ in range(EVENTS_MAX):
        await stage.control.lifecycle.SuspendInferenceService(
            lifecycle_service_pb2.SuspendInferenceServiceRequest(name=name)
        )
        await stage.control.lifecycle.ResumeInferenceService(
            lifecycle_service_pb2.ResumeInferenceServiceRequest(name=name)
        )
    request = lifecycle_service_pb2.ListServiceEventsRequest(inference_service=name, newest_first=True)
    newest = (await stage.control.lifecycle.ListServiceEvents(request)).service_events
    assert len(newest) == 2 * EVENTS_MAX
    page = await (await stage.signed_in()).get(f"/{name}?part=events")
    assert page.text.count("<li>") == EVENTS_MAX
    assert page.text.index("Resumed") < page.text.index("Suspended")


async def test_what_nobody_answers_is_left_out_and_said(stage: Stage) -> None:
    """Without metering nodes the page is there, without what was used."""
    browser = await stage.signed_in()
    page = await browser.get(SERVICE)
    assert page.status_code == 200
    assert "The metering service does not answer." in page.text
    assert "What was used cannot be read now." in page.text


async def test_a_custom_service_is_created_changed_and_deleted(stage: Stage) -> None:
    """Each by its form, and the pages show it."""
    browser = await stage.signed_in()
    assert await create(stage, display_name="Chat & more", labels="env=prod\nowner = me\n") == CUSTOM
    page = await browser.get(CUSTOM)
    assert "Chat &amp; more" in page.text
    assert "env=prod" in page.text
    assert (await browser.submit(f"{CUSTOM}/edit", display_name="Other", labels="env=test")).status_code == 303
    page = await browser.get(CUSTOM)
    assert "Other" in page.text
    assert "owner=me" not in page.text
    done = await browser.submit(f"{CUSTOM}/delete")
    assert (done.status_code, done.headers["location"]) == (303, LIST)
    assert CUSTOM not in (await browser.get(LIST)).text.partition("<tbody>")[2]


async def test_what_somebody_else_changed_meanwhile_stays(stage: Stage) -> None:
    """A form changes what was changed in it, and nothing else."""
    await create(stage, display_name="Old", labels="env=prod")
    browser = await stage.signed_in()
    page = await browser.get(f"{CUSTOM}/edit")
    update = lifecycle_service_pb2.UpdateInferenceServiceRequest(name=CUSTOM.removeprefix("/"), display_name="New")
    await stage.control.lifecycle.UpdateInferenceService(update)
    sent = await browser.send(f"{CUSTOM}/edit", page, display_name="Old", labels="env=test")
    assert sent.status_code == 303
    shown = await browser.get(CUSTOM)
    assert "<h1>New</h1>" in shown.text
    assert "env=test" in shown.text


async def test_a_refusal_stands_beside_its_field_and_keeps_what_was_typed(stage: Stage) -> None:
    """The service's sentence; nothing that was typed is lost."""
    browser = await stage.signed_in()
    typed = {"name": "Not An Id", "display_name": "Kept", "labels": "a=b", "model": "models/llama"}
    refused = await browser.submit("/accounts/acme/create-service", **typed, **{"billing.enable_postpaid": "yes"})
    assert refused.status_code == 400
    assert 'name="name" type="text" value="Not An Id"' in refused.text
    assert 'id="name-said" class="hint"><span class="error">' in refused.text
    assert 'value="Kept"' in refused.text
    assert "a=b</textarea>" in refused.text
    assert 'name="billing.enable_postpaid" value="yes" checked' in refused.text
    bad = await browser.submit("/accounts/acme/create-service", **{**typed, "name": "ok", "labels": "no label"})
    assert bad.status_code == 400
    assert "&#39;no label&#39; is not a label" in bad.text


async def test_a_reservation_is_quoted_bought_and_cancelled(stage: Stage) -> None:
    """At the price that the service worked out; the page shows it, and what was paid."""
    await stage.control.top_up(1_000_000_000_000)
    await sell_reservations(stage)
    await create(stage)
    browser = await stage.signed_in()
    terms = {
        "terms.input_tokens_per_minute": "10,000",
        "terms.output_tokens_per_minute": "2000",
        "terms.term_day_count": "30",
        "terms.overflow_policy": "BILL_BY_TOKEN",
    }
    quoted = await browser.submit(f"{CUSTOM}/reserve", **terms)
    assert quoted.status_code == 200
    # For 30 days: ten thousands of input at 0.10, two of output at 0.30.
    assert 'value="48000000000" title="48.00 USD (48,000,000,000 nanos)"' in quoted.text
    assert "It enables pay-as-you-go" in quoted.text
    bought = await browser.send(f"{CUSTOM}/reserve", quoted)
    assert (bought.status_code, bought.headers["location"]) == (303, CUSTOM)
    page = await browser.get(CUSTOM)
    assert "The reservation is bought. Pay-as-you-go was enabled" in page.text
    assert 'value="48000000000"' in page.text
    found = re.search(r'href="(/accounts/acme/services/chat/reservations/[^"]+/cancel)"', page.text)
    assert found is not None
    assert "nothing is refunded" in (await browser.get(found[1])).text
    assert (await browser.submit(found[1])).status_code == 303
    assert "Cancelled" in (await browser.get(CUSTOM)).text


async def test_a_price_that_changed_meanwhile_is_not_paid(stage: Stage) -> None:
    """The page shows the new one; nothing was bought."""
    await stage.control.top_up(1_000_000_000_000)
    await sell_reservations(stage)
    await create(stage)
    browser = await stage.signed_in()
    terms = {
        "terms.input_tokens_per_minute": "1000",
        "terms.output_tokens_per_minute": "0",
        "terms.term_day_count": "1",
    }
    quoted = await browser.submit(f"{CUSTOM}/reserve", **terms)
    await sell_reservations(stage, input_nanos=200_000_000)
    refused = await browser.send(f"{CUSTOM}/reserve", quoted)
    assert refused.status_code == 400
    assert "The price is another one by now." in refused.text
    assert "None was bought." in (await browser.get(CUSTOM)).text


async def test_terms_that_cannot_be_are_refused_beside_their_fields(stage: Stage) -> None:
    """Those that this program sees, and those that the service sees."""
    await sell_reservations(stage)
    await create(stage)
    browser = await stage.signed_in()
    for days, status in (("many", 400), ("0", 400), ("99999999999", 400)):
        terms = {
            "terms.input_tokens_per_minute": "1000",
            "terms.output_tokens_per_minute": "7",
            "terms.term_day_count": days,
        }
        refused = await browser.submit(f"{CUSTOM}/reserve", **terms)
        assert refused.status_code == status
        assert f'name="terms.term_day_count" type="text" value="{days}"' in refused.text
        assert 'id="terms.term_day_count-said"' in refused.text
        assert 'name="terms.output_tokens_per_minute" type="text" value="7"' in refused.text


async def test_texts_of_people_are_no_markup(stage: Stage) -> None:
    """Wherever they are shown."""
    await create(stage, display_name=MARKUP, labels=f"x={MARKUP}")
    browser = await stage.signed_in()
    for path in (LIST, CUSTOM, f"{CUSTOM}/edit", f"{CUSTOM}/delete", f"{CUSTOM}?part=head"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert MARKUP not in page.text
        assert "&lt;script&gt;" in page.text


async def test_limits_show_what_is_left(stage: Stage) -> None:
    """Of the service itself, its team and its account."""
    await stage.control.teams.CreateTeam(team_service_pb2.CreateTeamRequest(name="accounts/acme/teams/red"))
    await create(stage, team="red")
    for place in ("accounts/acme", "accounts/acme/teams/red", "accounts/acme/services/chat"):
        name = place.rpartition("/")[2]
        await stage.control.limits.CreateBudget(
            limit_service_pb2.CreateBudgetRequest(
                name=f"accounts/acme/budgets/of-{name}",
                place=place,
                unit=budget_pb2.BUDGET_UNIT_TOKENS,
                amount_units=1_234,
                period=budget_pb2.CALENDAR_PERIOD_MONTH,
            )
        )
        await stage.control.limits.CreateRateRule(
            limit_service_pb2.CreateRateRuleRequest(
                name=f"accounts/acme/rateRules/rule-of-{name}",
                place=place,
                metric=limit_config_pb2.RATE_METRIC_REQUESTS,
                limit_units=77,
            )
        )
    page = await (await stage.signed_in()).get(CUSTOM)
    for name in ("acme", "red", "chat"):
        assert f"<strong>of-{name}</strong>" in page.text
        assert f"<strong>rule-of-{name}</strong>" in page.text
    assert page.text.count("of 1,234 tokens spent, 1,234 tokens left") == 3


@pytest.mark.parametrize(
    "path", ["/accounts/acme/services/nobody", "/accounts/nobody/services", "/accounts/A!/services"]
)
async def test_what_there_is_not_is_said_by_the_service(stage: Stage, path: str) -> None:
    """With the status of what went wrong."""
    answer = await (await stage.signed_in()).get(path)
    assert answer.status_code in (400, 404)
    assert 'role="alert"' in answer.text


async def test_keys_are_those_that_may_be_used_for_it(stage: Stage) -> None:
    """As the service says it, and not one more."""
    await create(stage)
    for name, scope in (
        ("of-all", api_key_pb2.KeyScope(all_services=True, all_models=True)),
        ("of-another", api_key_pb2.KeyScope(services=["accounts/acme/services/default-llama"], all_models=True)),
    ):
        request = key_service_pb2.CreateKeyRequest(name=f"accounts/acme/keys/{name}", scope=scope)
        await stage.control.keys.CreateKey(request)
    page = await (await stage.signed_in()).get(CUSTOM)
    assert "of-all</a>" in page.text
    assert "of-another" not in page.text


async def test_the_code_sample_says_where_to_put_the_address(stage: Stage) -> None:
    """Nobody has said where inference servers are."""
    page = await (await stage.signed_in()).get(SERVICE)
    assert "curl https://YOUR-INFERENCE-SERVER/v1/chat/completions" in page.text
    assert "--inference-url" in page.text


async def sell_reservations(stage: Stage, input_nanos: int = 100_000_000) -> None:
    """Reserved capacity of `llama` has a price."""
    price = model_pb2.ReservationPrice(
        input_nanos_per_thousand_tpm_day=input_nanos, output_nanos_per_thousand_tpm_day=300_000_000
    )
    request = catalog_service_pb2.UpdateModelRequest(name="models/llama", reservation_price=price)
    await stage.control.catalogue.UpdateModel(request)
