"""A visit: one request of somebody who is signed in, and all that a page needs of it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import grpc
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tallygate._access.permission import Permission
from tallygate._access.scope import Scope
from tallygate.console.calls import CHANGE_TIMEOUT_S, READ_TIMEOUT_S, CallError
from tallygate.console.forms import FieldError, Form
from tallygate.console.nav import Shown, shown
from tallygate.console.sessions import Session
from tallygate.console.site import Site

NOTICES: Final = "<!--notices-->"
"""Place in each page where it says what was done; no text of anybody's can look like it."""
FORM_KEY: Final = "<!--key-->"
"""Place of a form's key in a copy: the one that the page had may have been used when its copy is shown."""
ETAG_CHARACTERS: Final = 24

Answer = TypeVar("Answer")


class Visit:
    """One request of somebody who is signed in.

    Attributes:
        request: The request itself; `request.path_params` has what its address names.
        session: Theirs.
        site: The console.
        form: What they typed, where the request is a change, or was refused as one; empty otherwise.
        errors: What is wrong with which field, by the field's name; under the empty name what is wrong with the whole.
        gaps: Calls that nobody answered, and without which the page is shown all the same.
        account_id: The account that the page is about, or the one that they looked at before.
    """

    def __init__(self, request: Request, session: Session, site: Site, form: Form) -> None:
        self.request = request
        self.session = session
        self.site = site
        self.form = form
        self.errors: dict[str, str] = {}
        self.gaps: list[CallError] = []
        self.status = HTTPStatus.OK
        if found := request.path_params.get("account"):
            session.account = found
        accounts = session.caller.accounts
        self.account_id: str = session.account or (accounts[0].id if accounts else "")
        self.timeout_s = CHANGE_TIMEOUT_S if request.method == "POST" else READ_TIMEOUT_S

    @property
    def control(self) -> grpc.aio.Channel:
        """What stubs of the control service are made of, for calls as this caller."""
        return self.site.control.channel(self.session.credential, self.timeout_s)

    @property
    def metering(self) -> grpc.aio.Channel:
        """What stubs of the metering service are made of: whichever node answers."""
        return self.site.metering.channel(self.session.credential, self.timeout_s)

    def node(self, address: str) -> grpc.aio.Channel:
        """What stubs of the metering service are made of, for one of `site.metering.addresses`."""
        return self.site.metering.alone(address).channel(self.session.credential, self.timeout_s)

    @property
    def account(self) -> str:
        """The name of the account, `accounts/{account}`."""
        return f"accounts/{self.account_id}"

    @property
    def part(self) -> str:
        """The part of the page that a live page reads again; empty for the page as a whole."""
        return self.request.query_params.get("part", "")

    @property
    def address(self) -> str:
        """The page's own address."""
        query = self.request.url.query
        return f"{self.path}?{query}" if query else self.path

    @property
    def nav(self) -> list[Shown]:
        """The pages that the caller is shown."""
        return shown(self.site.nav, self.session.caller, self.account_id, self.request.url.path)

    @cached_property
    def idempotency_key(self) -> str:
        """The key of the form on this page: the one that it was sent with, or a new one."""
        return self.form.text("idempotency_key") or self.site.random_text()

    @property
    def path(self) -> str:
        """The page's own path, without what stands after a question mark: where its form is sent."""
        return quote(self.request.url.path)

    def with_query(self, **changed: str) -> str:
        """The page's address with some of its query changed; what is empty is left out."""
        query = {**self.request.query_params, **changed}
        query.pop("part", None)
        kept = urlencode({name: value for name, value in query.items() if value})
        return f"{self.path}?{kept}" if kept else self.path

    def query(self, name: str, default: str = "") -> str:
        """What the address says after its question mark."""
        return self.request.query_params.get(name, default).strip()

    def may(self, permission: Permission, team_id: str = "") -> bool:
        """Whether the caller has the permission in the account, or in a team of it; the service decides in any case."""
        return self.session.caller.may(permission, self.account_id, team_id)

    def may_everywhere(self, permission: Permission) -> bool:
        """Whether the caller has the permission on the platform."""
        return self.session.caller.may(permission)

    def sees_account(self, permission: Permission) -> bool:
        """Whether the caller has the permission on the account as a whole, and not in a team of it alone."""
        return self.session.caller.rights.allows(permission, Scope(self.account_id))

    async def lately(self, key: str, for_s: int, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """An answer that may be some seconds old: for what a page that reads itself again needs less often."""
        return await self.session.lately(f"{self.account_id} {key}", self.site.clock.monotonic_ns(), for_s, read)

    async def unless_away(self, call: Awaitable[Answer]) -> Answer | None:
        """The answer to a call; None where nobody answers, which the page says above what is left. Raises CallError."""
        try:
            return await call
        except CallError as error:
            if not error.is_away:
                raise
            if error.sentence not in {gap.sentence for gap in self.gaps}:
                self.gaps.append(error)
            return None

    def refuse(self, error: CallError | FieldError) -> None:
        """Take a refusal to heart: what is shown next says it beside the field, or above the button."""
        if isinstance(error, FieldError):
            self.status = HTTPStatus.BAD_REQUEST
            self.errors[error.field] = error.sentence
            return
        self.status = error.status
        for path, problem in error.violations:
            self.errors.setdefault(path.partition("[")[0], problem)
        self.errors[""] = error.sentence

    def page(self, template: str, **values: Any) -> Response:
        """The page of a template, or the part of it that is asked for."""
        shown_values = {**self.common(), **values}
        if self.part:
            return self._part(template, shown_values)
        html = self.site.html(template, shown_values)
        if self.request.method == "GET" and self.status == HTTPStatus.OK:
            copy = html.replace(self.idempotency_key, FORM_KEY)
            self.session.copies.keep(self.address, copy, self.site.clock.now_us())
        return self.answer(html)

    def secret_page(self, template: str, **values: Any) -> Response:
        """A page with a secret on it, which is shown once: no copy of it is kept."""
        return self.answer(self.site.html(template, {**self.common(), **values}))

    def answer(self, html: str) -> Response:
        """The answer with this page, and with what was done before."""
        said = Markup().join(Markup('<p class="notice">{}</p>').format(one) for one in self.session.notices())
        return HTMLResponse(html.replace(NOTICES, said), self.status)

    def done(self, notice: str, path: str) -> Response:
        """After a change: the browser goes to a page, which says what was done."""
        self.session.say(self.form.text("idempotency_key"), notice)
        return RedirectResponse(path, HTTPStatus.SEE_OTHER)

    def _part(self, template: str, values: dict[str, Any]) -> Response:
        if not self.site.has_part(template, self.part):
            return Response("The page has no such part.", HTTPStatus.NOT_FOUND, media_type="text/plain")
        html = self.site.html(template, values, self.part)
        etag = f'"{hashlib.sha256(html.encode()).hexdigest()[:ETAG_CHARACTERS]}"'
        if self.request.headers.get("if-none-match") == etag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"etag": etag})
        return HTMLResponse(html, headers={"etag": etag})

    def common(self) -> dict[str, Any]:
        """What the layout needs."""
        return {
            "visit": self,
            "caller": self.session.caller,
            "nav": self.nav,
            "form": self.form,
            "errors": self.errors,
        }
