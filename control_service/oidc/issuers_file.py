"""The file of issuers: `[[issuer]]` tables in TOML, read once when control starts."""

import tomllib
from pathlib import Path
from typing import Any, Final

from control_service.domain.texts import is_plain
from control_service.oidc.issuer import DEFAULT_GROUPS_CLAIM, DEFAULT_SCOPES, Issuer
from tallygate._access.scope import Scope, parse_scope
from tallygate._server.errors import ConfigurationError
from tallygate._web_address import address_problem

ISSUERS_MAX: Final = 100
"""Maximum number of issuers: each keeps keys in memory."""
TEXT_CHARACTERS_MAX: Final = 2_048
"""Maximum length of a text in the file."""
URL_CHARACTERS_MAX: Final = 256
"""Maximum length of an issuer's address, which is a part of the names of its persons and groups."""
SCOPES_MAX: Final = 32
"""Maximum number of scopes that a sign-in with a browser asks for."""

_KEYS: Final = ("url", "audience", "scope", "groups_claim", "client_id", "browser_scopes")


def read_issuers(path: Path) -> tuple[Issuer, ...]:
    """The issuers in the file, in its order. Raises ConfigurationError, which says where in the file."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"The file of issuers {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"The file of issuers {path} is not TOML in UTF-8: {error}.") from error
    try:
        return _issuers(document)
    except ValueError as error:
        raise ConfigurationError(f"The file of issuers {path} is wrong: {error}.") from error


def _issuers(document: dict[str, Any]) -> tuple[Issuer, ...]:
    tables = document.pop("issuer", None)
    if document:
        raise ValueError(f"{next(iter(document))!r} stands at its top, where only [[issuer]] tables do")
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ValueError("it has no [[issuer]] table, with both pairs of brackets")
    if len(tables) > ISSUERS_MAX:
        raise ValueError(f"it has {len(tables)} issuers, at most {ISSUERS_MAX} are taken")
    issuers = tuple(_issuer(table, f"issuer {number}") for number, table in enumerate(tables, 1))
    urls = [each.url for each in issuers]
    for number, url in enumerate(urls, 1):
        if url in urls[: number - 1]:
            raise ValueError(
                f"issuer {number} has the url of issuer {urls.index(url) + 1}, and one issuer has one table"
            )
    return issuers


def _issuer(table: dict[str, Any], where: str) -> Issuer:
    unknown = next((key for key in table if key not in _KEYS), None)
    if unknown is not None:
        raise ValueError(f"{where} has {unknown!r}, and only {', '.join(_KEYS)} mean something")
    return Issuer(
        url=_url(_text(table, "url", where), where),
        audience=_text(table, "audience", where),
        scope=_scope(_text(table, "scope", where), where),
        groups_claim=_text(table, "groups_claim", where, DEFAULT_GROUPS_CLAIM, may_be_empty=True),
        client_id=_text(table, "client_id", where, "", may_be_empty=True),
        browser_scopes=_browser_scopes(table.get("browser_scopes", list(DEFAULT_SCOPES)), where),
    )


def _text(
    table: dict[str, Any], key: str, where: str, default: str | None = None, *, may_be_empty: bool = False
) -> str:
    value = table.get(key, default)
    if value is None:
        raise ValueError(f"{where} has no {key}")
    if not isinstance(value, str) or not is_plain(value) or len(value) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"{key} of {where} must be a text of at most {TEXT_CHARACTERS_MAX} characters on one line")
    if not (value or may_be_empty):
        raise ValueError(f"{key} of {where} is empty")
    return value


def _url(url: str, where: str) -> str:
    problem = address_problem(url) or ("has a query, which no issuer has" if "?" in url else "")
    if len(url) > URL_CHARACTERS_MAX:
        problem = f"has more than {URL_CHARACTERS_MAX} characters"
    if problem:
        raise ValueError(f"url of {where} {problem}")
    return url


def _scope(name: str, where: str) -> Scope:
    scope = parse_scope(name)
    if scope is None or scope.team_id:
        raise ValueError(f'scope of {where} must be "platform" or "accounts/{{account}}"')
    return scope


def _browser_scopes(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= SCOPES_MAX or not all(map(_is_scope, value)):
        raise ValueError(f"browser_scopes of {where} must be a list of 1 to {SCOPES_MAX} scopes without blanks")
    if "openid" not in value:
        raise ValueError(f'browser_scopes of {where} lacks "openid", without which there is no id token')
    return tuple(value)


def _is_scope(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and bool(value) and " " not in value
