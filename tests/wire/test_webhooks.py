"""Webhooks on a real server: which addresses it takes, secrets that are shown once, and alerts as they are listed."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tallygate.control.v1 import alert_pb2
from tallygate.control.v1 import alert_service_pb2 as alerts
from tests.harness.wire.callers import guarded_control
from tests.harness.wire.control_failures import failure
from tests.harness.wire.control_fleet import running_control

ACME = "accounts/acme"
PAGER = f"{ACME}/webhooks/pager"
LOCAL = "https://localhost/x"
"""An address to which nothing is sent: webhooks lead to the internet."""
REFUSED = (
    "http://hooks.example",
    "http://127.0.0.1/x",
    "https://127.0.0.1/x",
    "https://[::1]/x",
    "https://10.1.2.3",
    "https://169.254.169.254/latest/meta-data",
    "https://[::ffff:10.0.0.1]/x",
    "https://[fd00:ec2::254]/x",
    "https://user:password@hooks.example",
    "https://hooks.example/#part",
    "https://",
    "ftp://hooks.example",
    "hooks.example",
    "https://hooks.example/a b",
    "https://hooks.example:99999/",
    f"https://hooks.example/{'x' * 2_048}",
)


@pytest.mark.parametrize("url", REFUSED)
async def test_an_address_that_must_not_be_is_refused(tmp_path: Path, url: str) -> None:
    """When a webhook is made, and when it is changed; the field is named."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        made = await failure(control.alerts.CreateWebhook(alerts.CreateWebhookRequest(name=PAGER, url=url)))
        assert (made.reason, made.fields) == ("INVALID_REQUEST", ["url"])
        await control.alerts.CreateWebhook(alerts.CreateWebhookRequest(name=PAGER, url=LOCAL, disabled=True))
        changed = await failure(control.alerts.UpdateWebhook(alerts.UpdateWebhookRequest(name=PAGER, url=url)))
        assert (changed.reason, changed.fields) == ("INVALID_REQUEST", ["url"])


async def test_a_secret_is_shown_once(tmp_path: Path) -> None:
    """A repeat with the same key is answered without it, and says so."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        create = alerts.CreateWebhookRequest(name=PAGER, url=LOCAL, disabled=True, idempotency_key="once")
        first = await control.alerts.CreateWebhook(create)
        again = await control.alerts.CreateWebhook(create)
        assert first.secret.startswith("whsec_")
        assert (first.secret_lost, again.secret, again.secret_lost) == (False, "", True)
        assert again.webhook == first.webhook
        rotate = alerts.RotateWebhookSecretRequest(name=PAGER, overlap=Duration(seconds=60), idempotency_key="more")
        second = await control.alerts.RotateWebhookSecret(rotate)
        assert second.secret not in ("", first.secret)
        assert (await control.alerts.RotateWebhookSecret(rotate)).secret_lost
        assert second.webhook.HasField("previous_secret_expire_time")
        listed = await control.alerts.ListWebhooks(alerts.ListWebhooksRequest(account=ACME))
        assert [one.name for one in listed.webhooks] == [PAGER]


async def test_a_secret_that_leaked_ends_at_once(tmp_path: Path) -> None:
    """With no overlap, whatever overlap there was: nothing is left of what was known of it."""
    async with guarded_control(tmp_path) as control:
        await control.stock()
        await control.alerts.CreateWebhook(alerts.CreateWebhookRequest(name=PAGER, url=LOCAL, disabled=True))
        await control.alerts.RotateWebhookSecret(alerts.RotateWebhookSecretRequest(name=PAGER))
        at_once = alerts.RotateWebhookSecretRequest(name=PAGER, overlap=Duration())
        rotated = await control.alerts.RotateWebhookSecret(at_once)
        assert rotated.secret
        assert not rotated.webhook.HasField("previous_secret_expire_time")


async def test_without_a_pepper_a_webhook_is_refused(tmp_path: Path) -> None:
    """And it is said what to do."""
    async with running_control(tmp_path) as control:
        await control.stock()
        refused = await failure(control.alerts.CreateWebhook(alerts.CreateWebhookRequest(name=PAGER, url=LOCAL)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TOKENS_NOT_KEPT")


async def test_settings_are_read_and_changed(tmp_path: Path) -> None:
    """In order and each once; what is not given stays, and an empty list tells of nothing."""
    async with running_control(tmp_path) as control:
        await control.stock()
        get = alerts.GetAlertSettingsRequest(account=ACME)
        settings = (await control.alerts.GetAlertSettings(get)).settings
        assert (list(settings.trial_threshold_percents), list(settings.left_threshold_nanos)) == ([80, 100], [])
        update = alerts.UpdateAlertSettingsRequest(account=ACME, left_threshold_nanos=alerts.NanosList(nanos=[5, 1, 5]))
        settings = (await control.alerts.UpdateAlertSettings(update)).settings
        assert (list(settings.trial_threshold_percents), list(settings.left_threshold_nanos)) == ([80, 100], [1, 5])
        none = alerts.UpdateAlertSettingsRequest(account=ACME, trial_threshold_percents=alerts.TrialPercentList())
        assert list((await control.alerts.UpdateAlertSettings(none)).settings.trial_threshold_percents) == []
        for percents in ([0], [101], list(range(1, 12))):
            wrong = alerts.UpdateAlertSettingsRequest(
                account=ACME, trial_threshold_percents=alerts.TrialPercentList(percents=percents)
            )
            assert (await failure(control.alerts.UpdateAlertSettings(wrong))).reason == "INVALID_REQUEST"


async def test_alerts_are_listed_in_pages(tmp_path: Path) -> None:
    """The newest first, with their figures, by kind; pages are bound to their filter."""
    async with running_control(tmp_path) as control:
        await control.stock(funds_nanos=1_000)
        for threshold in (2_000, 1_500, 1_000):
            nanos = alerts.NanosList(nanos=[threshold])
            update = alerts.UpdateAlertSettingsRequest(account=ACME, left_threshold_nanos=nanos)
            await control.alerts.UpdateAlertSettings(update)
        await control.claim_trial()
        wanted = alerts.ListAlertsRequest(account=ACME, kinds=[alert_pb2.ALERT_KIND_MONEY_THRESHOLD], page_size=2)
        first = await control.alerts.ListAlerts(wanted)
        assert [(one.sequence_number, one.left_threshold.threshold_nanos) for one in first.alerts] == [
            (3, 1_000),
            (2, 1_500),
        ]
        wanted.page_token = first.next_page_token
        second = await control.alerts.ListAlerts(wanted)
        assert [(one.name, one.left_threshold.left_nanos) for one in second.alerts] == [(f"{ACME}/alerts/1", 1_000)]
        assert second.next_page_token == ""
        newest = (await control.alerts.ListAlerts(alerts.ListAlertsRequest(account=ACME, page_size=1))).alerts[0]
        assert newest.kind == alert_pb2.ALERT_KIND_SERVICE_STATUS
        assert newest.WhichOneof("detail") == "status_change"
        unbound = alerts.ListAlertsRequest(account=ACME, page_token=first.next_page_token)
        assert (await failure(control.alerts.ListAlerts(unbound))).reason == "INVALID_REQUEST"
