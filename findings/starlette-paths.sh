#!/bin/sh
# starlette 1.10.0 under uvicorn 0.54.0: paths that a check in front of the router takes for another route.
#   - POST /run%0A reaches the route "/run": its pattern ends in `$`, which also matches before a newline at the end;
#   - with a root path of "/", POST /run comes as the path "//run", and reaches "/run": uvicorn puts the root path in front,
#     and the router takes it off;
#   - below Mount("/v1", app), the middleware of the app sees the whole path, /v1/run, and /v1 in the root path: a check of
#     `path` alone that knows "/run", or one that knows "/v1/run" after taking the root path off, does not match.
# So a check has to judge every path that the router may see, and to refuse what cannot be told.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check starlette==1.10.0 uvicorn==0.54.0
cat > "$folder/look.py" <<'PYTHON'
import http.client
import socket
import threading
import time

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

seen = []


class Look:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            seen.append((scope["path"], scope["root_path"]))
        await self.app(scope, receive, send)


async def run(request):
    return PlainTextResponse("ran")


def ask(app, path, root_path=""):
    """The status of a POST, and what the middleware saw."""
    seen.clear()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, root_path=root_path, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    connection = http.client.HTTPConnection(*listener.getsockname(), timeout=20)
    connection.request("POST", path)
    status = connection.getresponse().status
    connection.close()
    server.should_exit = True
    thread.join()
    return status, seen[-1]


def app():
    return Starlette(routes=[Route("/run", run, methods=["POST"])], middleware=[Middleware(Look)])


plain = ask(app(), "/run")
newline = ask(app(), "/run%0A")
root = ask(app(), "/run", "/")
mounted = ask(Starlette(routes=[Mount("/v1", app())]), "/v1/run")
expected = {
    "plain": (plain, (200, ("/run", ""))),
    "newline at the end": (newline, (200, ("/run\n", ""))),
    "root path /": (root, (200, ("//run", "/"))),
    "mounted": (mounted, (200, ("/v1/run", "/v1"))),
}
for title, (found, before) in expected.items():
    print(f"{title}: status {found[0]}, path {found[1][0]!r}, root path {found[1][1]!r}")
    assert found == before, f"{title}: it was {before}"
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
