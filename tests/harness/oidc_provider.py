"""A real OpenID Connect provider over HTTP on this machine, with pages to sign in at, and a browser for them."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import httpx2
from werkzeug.serving import BaseWSGIServer, make_server

from tests.harness.patience import PATIENCE_S

with warnings.catch_warnings():
    import_module("authlib.deprecate")  # sets a filter of its own, to warn of what the provider uses
    warnings.simplefilter("ignore")
    import flask
    import oidc_provider_mock
    from oidc_provider_mock._app import AuthorizationCodeGrant

# Public clients, as programs on people's machines are: the package only knows those that have a secret.
AuthorizationCodeGrant.TOKEN_ENDPOINT_AUTH_METHODS = ["none"]


class OidcProvider:
    """A provider that can be stopped, started again at the same address, and given another key."""

    def __init__(self) -> None:
        self._app = oidc_provider_mock.app()
        self._app.before_request(self._record)
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._port = 0
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.start()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self._port, self._app, threaded=True)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join(PATIENCE_S)
            self._server.server_close()
        self._server = None

    def add_user(self, subject: str, **claims: Any) -> None:
        """A user with claims of their own, such as groups."""
        httpx2.put(f"{self.url}/users/{subject}", json=claims, timeout=PATIENCE_S).raise_for_status()

    def rotate_key(self) -> None:
        """Sign with a new key from now on, and publish no other."""
        with self._app.test_request_context("/"):
            self._app.preprocess_request()
            storage = flask.g.oidc_provider_mock_storage
            storage.jwk = type(storage.jwk).generate_key(is_private=True)

    def _record(self) -> None:
        request = flask.request
        self.requests.append((request.path, {**request.args.to_dict(), **request.form.to_dict()}))


@contextmanager
def running_provider() -> Iterator[OidcProvider]:
    """A provider that is gone afterwards."""
    provider = OidcProvider()
    try:
        yield provider
    finally:
        provider.stop()


class Browser:
    """Signs in at the page that it is sent to, as this subject, and goes where it is sent then."""

    def __init__(self, subject: str) -> None:
        self._form = {"sub": subject}
        self.pages: list[str] = []
        self._thread: threading.Thread | None = None

    def open(self, url: str) -> None:
        """Begin, as a browser does: beside the program that opens it."""
        self._thread = threading.Thread(target=self._go, args=(url,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(PATIENCE_S)

    def _go(self, url: str) -> None:
        with httpx2.Client(follow_redirects=True, timeout=PATIENCE_S) as client:
            client.get(url).raise_for_status()
            self.pages.append(client.post(url, data=self._form).text)
