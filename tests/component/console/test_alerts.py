"""Alerts, their thresholds, and webhooks: secrets shown once, deliveries, tests and sending again."""

import html
import re

import pytest

from tallygate.control.v1 import alert_pb2, alert_service_pb2, webhook_pb2
from tests.harness.console.console_harness import Browser, Stage

ALERTS = "/accounts/acme/alerts"
THRESHOLDS = f"{ALERTS}/thresholds"
HOOKS = "/accounts/acme/webhooks"
HOOK = f"{HOOKS}/ops"
CREATE = "/accounts/acme/create-webhook"
URL = "https://localhost/hook?a=1&b=2"
SECRET = re.compile(r'<pre id="secret" tabindex="0">([^<]+)</pre>')


async def hook_of(stage: Stage) -> webhook_pb2.Webhook:
    request = alert_service_pb2.ListWebhooksRequest(account="accounts/acme")
    (webhook,) = (await stage.control.alerts.ListWebhooks(request)).webhooks
    return webhook


async def create(browser: Browser, **more: str) -> str:
    """Creates a webhook by the form; its secret."""
    made = await browser.submit(CREATE, name="ops", url=URL, **more)
    found = SECRET.search(made.text)
    assert found is not None, made.text
    return html.unescape(found[1])


async def test_alerts_are_listed_with_their_figures(stage: Stage) -> None:
    """To the nano; a filter by kind is the service's."""
    browser = await stage.signed_in()
    changed = await browser.submit(
        THRESHOLDS, **{"left_threshold_nanos.nanos": "5000.000000001\n1", "trial_threshold_percents.percents": "50 90"}
    )
    assert changed.headers["location"] == ALERTS, changed.text
    page = await browser.get(ALERTS)
    assert "Money threshold" in page.text
    assert 'value="1000000000"' in page.text
    assert "Money threshold</td>" not in (await browser.get(f"{ALERTS}?kind=SERVICE_STATUS")).text
    assert (await browser.get(f"{ALERTS}?kind=NONSENSE")).status_code == 200
    form = await browser.get(THRESHOLDS)
    assert "5000.000000001" in form.text
    assert 'value="50, 90"' in form.text


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("left_threshold_nanos.nanos", "much"),
        ("trial_threshold_percents.percents", "50 percent"),
        ("trial_threshold_percents.percents", "99999999999"),
        ("trial_threshold_percents.percents", "101"),
    ],
)
async def test_thresholds_that_are_refused_are_kept(stage: Stage, field: str, typed: str) -> None:
    """Beside the field; no alert settings changed."""
    browser = await stage.signed_in()
    refused = await browser.submit(THRESHOLDS, **{field: typed})
    assert refused.status_code == 400
    assert f'id="{field}-said" class="hint"><span class="error">' in refused.text
    assert typed in refused.text
    settings = await stage.control.alerts.GetAlertSettings(
        alert_service_pb2.GetAlertSettingsRequest(account="accounts/acme")
    )
    assert list(settings.settings.trial_threshold_percents) == [80, 100]


async def test_a_webhook_has_a_secret_that_is_shown_once(stage: Stage) -> None:
    """And an address that is kept as it was typed."""
    browser = await stage.signed_in()
    secret = await create(browser)
    assert secret.startswith("whsec_")
    assert (await hook_of(stage)).url == URL
    for path in (HOOKS, HOOK, f"{HOOK}/edit", f"{HOOK}/rotate"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert secret not in page.text
    made = await browser.submit(f"{HOOK}/rotate", overlap="0")
    assert made.headers["cache-control"] == "no-store"
    assert SECRET.search(made.text)
    assert secret not in made.text


async def test_a_webhook_is_changed(stage: Stage) -> None:
    """Kinds and whether it is disabled; no kind ticked is all kinds."""
    browser = await stage.signed_in()
    await create(browser, **{"kinds.kinds": "ACCOUNT_OVERDUE"})
    assert list((await hook_of(stage)).kinds.kinds) == [alert_pb2.ALERT_KIND_ACCOUNT_OVERDUE]
    form = await browser.get(f"{HOOK}/edit")
    assert 'value="ACCOUNT_OVERDUE" checked' in form.text
    await browser.send(f"{HOOK}/edit", form, url=URL, disabled="yes")
    webhook = await hook_of(stage)
    assert (webhook.disabled, list(webhook.kinds.kinds)) == (True, [])
    form = await browser.get(f"{HOOK}/edit")
    await stage.control.alerts.UpdateWebhook(
        alert_service_pb2.UpdateWebhookRequest(name=HOOK.removeprefix("/"), url=f"{URL}/other")
    )
    for _ in range(2):
        done = await browser.send(f"{HOOK}/edit", form, url=URL, disabled="yes", **{"kinds.kinds": "ACCOUNT_OVERDUE"})
        assert done.status_code == 303, done.text
    webhook = await hook_of(stage)
    assert (webhook.disabled, webhook.url, list(webhook.kinds.kinds)) == (
        True,
        f"{URL}/other",
        [alert_pb2.ALERT_KIND_ACCOUNT_OVERDUE],
    )
    refused = await browser.submit(f"{HOOK}/test")
    assert refused.status_code == 409
    assert "disabled" in refused.text


async def test_a_test_and_a_replay_are_deliveries(stage: Stage) -> None:
    """They are on the page of the webhook."""
    browser = await stage.signed_in()
    await create(browser)
    form = await browser.get(f"{HOOK}/test")
    for _ in range(2):
        assert (await browser.send(f"{HOOK}/test", form)).headers["location"] == HOOK
    page = await browser.get(HOOK)
    assert page.text.count("<td>test</td>") == 1
    assert "A test is on its way." in page.text
    assert "<td>test</td>" in page.text
    await browser.submit(THRESHOLDS, **{"left_threshold_nanos.nanos": "5000"})
    done = await browser.submit(f"{HOOK}/replay", first_sequence_number="1")
    assert done.status_code == 303, done.text
    assert "Alerts that are sent again: 1." in (await browser.get(HOOK)).text
    refused = await browser.submit(f"{HOOK}/replay", first_sequence_number="first")
    assert refused.status_code == 400
    assert 'value="first"' in refused.text


async def test_a_webhook_that_is_not_there(stage: Stage) -> None:
    """Is not found, and one that was deleted is gone from the list."""
    browser = await stage.signed_in()
    assert (await browser.get(f"{HOOKS}/none")).status_code == 404
    assert (await browser.get(f"{HOOKS}/none/edit")).status_code == 404
    await create(browser)
    await browser.submit(f"{HOOK}/delete")
    assert "There is no webhook yet" in (await browser.get(HOOKS)).text
