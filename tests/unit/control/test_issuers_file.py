"""The file of issuers, and what is said of mistakes in it."""

from pathlib import Path

import pytest

from control_service.oidc.issuer import Issuer
from control_service.oidc.issuers_file import read_issuers
from tallygate._access.scope import PLATFORM, Scope
from tallygate._server.errors import ConfigurationError

SHORT = '[[issuer]]\nurl = "https://login.example.com"\naudience = "tallygate"\nscope = "platform"\n'


def read(directory: Path, text: str | bytes) -> tuple[Issuer, ...]:
    path = directory / "issuers.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_issuers(path)


def test_what_is_left_out_has_a_meaning(tmp_path: Path) -> None:
    """The claim of groups is groups, and the client of the browser is the audience."""
    (issuer,) = read(tmp_path, SHORT)
    assert issuer == Issuer("https://login.example.com", "tallygate", PLATFORM)
    assert (issuer.groups_claim, issuer.browser_client_id) == ("groups", "tallygate")
    assert issuer.browser_scopes == ("openid", "profile", "email")


def test_everything_can_be_said(tmp_path: Path) -> None:
    """In any order, for any number of issuers."""
    text = f"""{SHORT}
        [[issuer]]
        client_id = "tallygate-cli"
        groups_claim = ""
        browser_scopes = ["openid", "groups"]
        scope = "accounts/acme"
        audience = "api://tallygate"
        url = "http://127.0.0.1:8080/realms/acme"
        """
    _, second = read(tmp_path, text)
    assert second == Issuer(
        "http://127.0.0.1:8080/realms/acme", "api://tallygate", Scope("acme"), "", "tallygate-cli", ("openid", "groups")
    )
    assert second.browser_client_id == "tallygate-cli"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no [[issuer]] table"),
        ("issuer = []\nother = 1", "'other' stands at its top"),
        (SHORT.replace("[[issuer]]", "[issuer]"), "has no [[issuer]] table, with both pairs of brackets"),
        ("issuer = [5]", "has no [[issuer]] table"),
        (SHORT + SHORT, "issuer 2 has the url of issuer 1"),
        (SHORT + "audiences = 1", "issuer 1 has 'audiences', and only url, audience, scope,"),
        (SHORT.replace("url =", "groups_claim ="), "issuer 1 has no url"),
        (SHORT.replace("audience =", "groups_claim ="), "issuer 1 has no audience"),
        (SHORT.replace("scope =", "groups_claim ="), "issuer 1 has no scope"),
        (SHORT.replace('"tallygate"', '""'), "audience of issuer 1 is empty"),
        (SHORT.replace('"tallygate"', "5"), "audience of issuer 1 must be a text"),
        (SHORT.replace('"tallygate"', '"a\\nb"'), "audience of issuer 1 must be a text"),
        (SHORT.replace("https", "http"), "url of issuer 1 must begin with https://"),
        (SHORT.replace("login.", "ada@"), "url of issuer 1 names a user"),
        (SHORT.replace(".com", ".com?a=b"), "url of issuer 1 has a query"),
        (SHORT.replace(".com", ".com/" + "a" * 240), "url of issuer 1 has more than 256 characters"),
        (SHORT.replace(".com", ".com#a"), "url of issuer 1 has a fragment"),
        (SHORT.replace('"platform"', '"accounts/"'), 'scope of issuer 1 must be "platform" or "accounts/{account}"'),
        (SHORT.replace('"platform"', '"accounts/a/teams/t"'), "scope of issuer 1 must be"),
        (SHORT + 'browser_scopes = ["email"]', 'browser_scopes of issuer 1 lacks "openid"'),
        (SHORT + 'browser_scopes = "openid"', "browser_scopes of issuer 1 must be a list"),
        (SHORT + 'browser_scopes = ["openid", "a b"]', "browser_scopes of issuer 1 must be a list"),
        (SHORT + "browser_scopes = []", "browser_scopes of issuer 1 must be a list"),
        (SHORT + "url = 1", "is not TOML in UTF-8"),
        ("issuer = " + "[" * 5_000, "is not TOML in UTF-8"),
        (b"\xff", "is not TOML in UTF-8"),
        ("\n".join(SHORT.replace("login", f"login{n}") for n in range(101)), "it has 101 issuers, at most 100"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, text: str | bytes, problem: str) -> None:
    """In one sentence, with the file and the place in it."""
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text)
    assert problem in str(caught.value)
    assert str(tmp_path / "issuers.toml") in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Neither is a directory one."""
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_issuers(path)
