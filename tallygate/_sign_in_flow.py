"""The authorization code flow of OpenID Connect with PKCE, without any program's own way of listening and asking."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from tallygate._web_address import address_problem
from tallygate.control.v1.token_service_pb2 import SignInIssuer

TOKEN_TIMEOUT_S: Final = 10.0
"""Timeout of the issuer's answer to a code."""
ANSWER_BYTES_MAX: Final = 256 * 1024
"""Maximum size of that answer."""
ANSWER_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}

Answer = Mapping[str, str]
"""Parameters that the issuer sends by way of the browser."""


class SignInError(Exception):
    """A sign-in did not come to its end; the message is a sentence for the person."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in: what nobody else may guess, and where the browser comes back."""

    redirect_uri: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


def begin(redirect_uri: str, random_text: Callable[[], str]) -> Attempt:
    """A sign-in of its own."""
    return Attempt(redirect_uri, random_text(), random_text(), random_text())


def check_issuer(issuer: SignInIssuer) -> None:
    """Refuse addresses to which nobody is to be sent. Raises SignInError."""
    for name, url in (("sign-in page", issuer.authorization_endpoint), ("token endpoint", issuer.token_endpoint)):
        problem = address_problem(url)
        if problem:
            raise SignInError(f"The {name} of {issuer.issuer} {problem}; have control's operator look at the issuer.")


def sign_in_page(issuer: SignInIssuer, attempt: Attempt) -> str:
    """Where the browser goes."""
    digest = hashlib.sha256(attempt.verifier.encode()).digest()
    query = urlencode(
        {
            "response_type": "code",
            "client_id": issuer.client_id,
            "redirect_uri": attempt.redirect_uri,
            "scope": " ".join(issuer.scopes),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
    )
    page = issuer.authorization_endpoint
    return f"{page}{'&' if urlsplit(page).query else '?'}{query}"


def code_of(issuer: SignInIssuer, answer: Answer) -> str:
    """The code that the browser brought. Raises SignInError."""
    if answer.get("iss", issuer.issuer) != issuer.issuer:
        raise SignInError("The answer came from another issuer than the one that was asked; sign in again.")
    if "code" not in answer:
        raise SignInError(_refusal(issuer, answer))
    return answer["code"]


def code_form(issuer: SignInIssuer, attempt: Attempt, code: str) -> dict[str, str]:
    """What the token endpoint is sent."""
    return {
        "grant_type": "authorization_code",
        "client_id": issuer.client_id,
        "code": code,
        "redirect_uri": attempt.redirect_uri,
        "code_verifier": attempt.verifier,
    }


def check_size(issuer: SignInIssuer, body: bytes | bytearray) -> None:
    """Refuse an answer that has become too long. Raises SignInError."""
    if len(body) > ANSWER_BYTES_MAX:
        raise SignInError(f"{issuer.issuer} answered with more than {ANSWER_BYTES_MAX} bytes.")


def not_answered(issuer: SignInIssuer, error: Exception) -> SignInError:
    """What is said where the token endpoint gave no answer."""
    return SignInError(f"{issuer.issuer} did not answer to the code ({error}); sign in again.")


def id_token_of(issuer: SignInIssuer, attempt: Attempt, status: int, body: bytes) -> str:
    """The id token in the token endpoint's answer, made for this sign-in. Raises SignInError."""
    answer = _object(body)
    if status != HTTPStatus.OK:
        raise SignInError(_refusal(issuer, {name: str(value) for name, value in answer.items()}))
    id_token = answer.get("id_token")
    if not isinstance(id_token, str):
        raise SignInError(f"{issuer.issuer} gave no id token; have control's operator look at the scopes.")
    check_nonce(id_token, attempt.nonce)
    return id_token


def check_nonce(id_token: str, nonce: str) -> None:
    """Refuse a token made for another sign-in; whether it is genuine, control will tell. Raises SignInError."""
    claims = id_token.split(".")[1:2] or [""]
    try:
        found = _object(base64.urlsafe_b64decode(claims[0] + "===")).get("nonce")
    except ValueError:
        found = None
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise SignInError("The id token belongs to another sign-in; sign in again.")


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _refusal(issuer: SignInIssuer, answer: Answer) -> str:
    reason = answer.get("error_description") or answer.get("error") or "it gave no reason"
    return f"{issuer.issuer} refused the sign-in: {reason}"
