"""Access: roles, teams, service accounts and their tokens."""

import html
import re

from tallygate.control.v1 import access_service_pb2, token_service_pb2
from tests.harness.console.console_harness import Stage

ACCESS = "/accounts/acme/access"
GIVE = "/accounts/acme/give-role"
TEAMS = "/accounts/acme/teams"
ROBOTS = "/accounts/acme/service-accounts"
ROBOT = f"{ROBOTS}/ci"
PERSON = "person:https://login.example#ada"
SECRET = re.compile(r'<pre id="secret" tabindex="0">([^<]+)</pre>')


async def test_a_role_is_given_and_taken(stage: Stage) -> None:
    """By pages that say what it does; what is refused is kept."""
    browser = await stage.signed_in()
    refused = await browser.submit(GIVE, member="ada", role="VIEWER")
    assert refused.status_code == 400
    assert 'id="member-said" class="hint"><span class="error">' in refused.text
    assert 'value="ada"' in refused.text
    assert (await browser.submit(GIVE, member=PERSON, role="BILLING")).headers["location"] == ACCESS
    page = await browser.get(ACCESS)
    assert PERSON in page.text
    assert "Billing" in page.text
    found = re.search(r'href="(/accounts/acme/take-role[^"]+)"', page.text)
    assert found is not None
    form = await browser.get(html.unescape(found[1]))
    name = re.search(r'value="(accounts/acme/bindings/[^"]+)"', form.text)
    assert name is not None
    assert (await browser.send("/accounts/acme/take-role", form, name=name[1])).headers["location"] == ACCESS
    listed = await stage.control.access.ListBindings(access_service_pb2.ListBindingsRequest(scope="accounts/acme"))
    assert not listed.bindings


async def test_a_team_is_created_renamed_and_deleted(stage: Stage) -> None:
    """A role on it is of the team."""
    browser = await stage.signed_in()
    assert (await browser.submit("/accounts/acme/create-team", name="red")).headers["location"] == TEAMS
    await browser.submit(GIVE, member=PERSON, role="TEAM_MEMBER", team="red")
    assert "team <code>red</code>" in (await browser.get(ACCESS)).text
    await browser.submit(f"{TEAMS}/red/rename", display_name="The reds")
    assert "The reds" in (await browser.get(TEAMS)).text
    await browser.submit(f"{TEAMS}/red/delete")
    assert "There is no team yet." in (await browser.get(TEAMS)).text


async def test_a_token_of_a_service_account_is_shown_once(stage: Stage) -> None:
    """It is disabled, enabled, rotated and deleted by its own pages."""
    browser = await stage.signed_in()
    assert (await browser.submit("/accounts/acme/create-service-account", name="ci")).headers["location"] == ROBOT
    made = await browser.submit(f"{ROBOT}/create-token", valid_for="30", display_name="main")
    found = SECRET.search(made.text)
    assert found is not None
    assert found[1].startswith("tgt_")
    assert made.headers["cache-control"] == "no-store"
    page = await browser.get(ROBOT)
    assert found[1] not in page.text
    token = re.search(rf'href="({ROBOT}/tokens/[^/"]+)/rotate"', page.text)
    assert token is not None
    await browser.submit(f"{token[1]}/disable")
    assert "Disabled" in (await browser.get(ROBOT)).text
    await browser.submit(f"{token[1]}/enable")
    assert SECRET.search((await browser.submit(f"{token[1]}/rotate", overlap="0")).text)
    assert (await browser.submit(f"{token[1]}/delete")).headers["location"] == ROBOT
    request = token_service_pb2.ListAccessTokensRequest(service_account="accounts/acme/serviceAccounts/ci")
    assert not (await stage.control.tokens.ListAccessTokens(request)).access_tokens
    assert (await browser.submit(f"{ROBOT}/delete")).headers["location"] == ROBOTS
