"""Vertex AI's predictions, as SGLang serves them: what is recorded of several instances, and how their streams end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tallygate.client import MeteringClient
from tallygate.integrations.asgi_types import Receive, Send
from tallygate.metering.v1 import decision_pb2, token_usage_pb2
from tests.harness.asgi.asgi_harness import (
    DONE,
    Behaviour,
    Upstream,
    answers,
    caller,
    counts,
    event,
    generated,
    say,
    start,
    streams,
)
from tests.harness.wire.fake_metering import FakeMetering

PATH = "/vertex_generate"
TWO = {"instances": [{"text": "x"}, {"text": "y"}]}
SAMPLING = {"sampling_params": {"n": 2, "max_new_tokens": 5}}
STREAM = {"parameters": {**SAMPLING, "stream": True}}
FOUR = [generated(at + 1, index=at) for at in range(4)]


def predicted(*answered: Any) -> Behaviour:
    return answers({"predictions": list(answered)})


@pytest.mark.parametrize(
    ("asked", "behave", "recorded", "estimated"),
    [
        pytest.param(
            {"instances": [{"text": "x"}]}, predicted(generated(3)), counts(6, 3, 4), False, id="one instance"
        ),
        pytest.param(
            {**TWO, "parameters": SAMPLING}, predicted(*FOUR), counts(12, 10, 8), False, id="two, with two choices each"
        ),
        pytest.param(
            {"instances": [{"input_ids": [1, 2]}, {"input_ids": [3]}], "parameters": None},
            predicted(generated(3), generated(4)),
            counts(12, 7, 8),
            False,
            id="token ids",
        ),
        pytest.param(
            {**TWO, **STREAM}, streams(*map(event, FOUR), DONE), counts(12, 10, 8), False, id="streamed all the same"
        ),
        pytest.param(
            {"instances": [{"text": "x"}] * 3},
            predicted(*[{**generated(5), "text": "A" * 200_000}] * 3),
            counts(18, 15, 12),
            False,
            id="too long to be parsed",
        ),
        pytest.param(
            {"instances": [{"text": "x"}] * 2_000},
            predicted(*[generated(5)] * 2_000),
            counts(12_000, 10_000, 8_000),
            False,
            id="many instances",
        ),
        pytest.param(
            {"instances": [{"text": "x" * 40, "image_data": "A" * 9_000}, {"text": "x" * 40}]},
            predicted({"text": "a" * 20}, {"text": "b" * 8}),
            counts(1_020, 7),
            True,
            id="no usage",
        ),
        pytest.param(TWO, answers({"error": {"message": "no"}}), counts(0, 0), False, id="refused with status 200"),
    ],
)
async def test_it_is_metered(  # noqa: PLR0917  # fixtures and parameters
    node: FakeMetering,
    client: MeteringClient,
    asked: dict[str, Any],
    behave: Behaviour,
    recorded: token_usage_pb2.TokenUsage,
    estimated: bool,
) -> None:
    """By what SGLang says of each prediction; and the request is passed on as it came."""
    rig, upstream = caller(node, client, behave)
    finish = await rig.post(PATH, asked)
    assert (finish.usage, finish.estimated) == (recorded, estimated)
    assert json.loads(upstream.bodies[0]) == asked


async def test_a_trial_that_runs_out_ends_each_answer(node: FakeMetering, client: MeteringClient) -> None:
    """As SGLang's own stream ends: each open choice says that its length was reached."""

    async def behave(upstream: Upstream, receive: Receive, send: Send) -> None:
        await start(send)
        await say(send, *(event(generated(2, index=at)) for at in range(4)))
        node.streams[0].stop(node.reports[0].request_id, decision_pb2.DECISION_REASON_TRIAL_EXHAUSTED)
        await upstream.wait_gone(receive)

    rig, _ = caller(node, client, behave)
    finish = await rig.post(PATH, {**TWO, **STREAM})
    *said, done, rest = rig.body.split(b"\n\n")
    reasons = [json.loads(each[6:])["meta_info"]["finish_reason"] for each in said]
    assert reasons == [None] * 4 + [{"type": "length", "length": 2}] * 4
    assert (done, rest) == (b"data: [DONE]", b"")
    assert (finish.usage, finish.estimated) == (counts(12, 8, 8), False)


@pytest.mark.parametrize(
    ("parameters", "passed"),
    [
        ({**SAMPLING, "rid": "a"}, {"rid": "a", "sampling_params": {"n": 2, "max_new_tokens": 2}}),
        ({"sampling_params": None}, {"sampling_params": {"max_new_tokens": 4}}),
        (None, {"sampling_params": {"max_new_tokens": 4}}),
        ({"stream": "yes"}, {"stream": True, "sampling_params": {"max_new_tokens": 4}}),
    ],
)
async def test_a_small_rest_is_told_where_the_limit_stands(
    node: FakeMetering, client: MeteringClient, parameters: object, passed: dict[str, Any]
) -> None:
    """Among the parameters, shared by all instances and choices; what is true in other words is true."""
    node.step = node.limit = 8
    rig, upstream = caller(node, client, predicted(*FOUR))
    await rig.post(PATH, {**TWO, "parameters": parameters})
    assert json.loads(upstream.bodies[0]) == {**TWO, "parameters": passed}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"instances": []},
        {"instances": {"text": "x"}},
        {"instances": ["x"]},
        {"instances": [{"prompt": "x"}]},
        {"instances": [{}], "parameters": {"text": ["x"] * 9}},
        {"instances": [{"text": "x"}], "parameters": {"image_data": "x"}},
        {"instances": [{"text": "x"}, {"input_ids": [1]}]},
        {"instances": [{"text": ["x", "y"]}]},
        {"instances": [{"input_ids": [[1], [2]]}]},
        {"instances": [{"text": "x"}], "parameters": []},
        {"instances": [{"text": "x"}], "parameters": {"sampling_params": [{"max_new_tokens": 5}]}},
        {"instances": [{"text": "x"}], "parameters": {"stream": "perhaps"}},
        {"instances": [{"text": "x"}], "parameters": {"Stream": True}},
        {"instances": [{"text": "x"}], "parameters": {"sampling_params": {"max_new_tokens": "many"}}},
    ],
)
async def test_what_nobody_can_count_is_refused(
    node: FakeMetering, client: MeteringClient, asked: dict[str, Any]
) -> None:
    """Before the server hears of it, with a sentence that names the field."""
    rig, upstream = caller(node, client, predicted(*FOUR))
    with pytest.raises(IndexError):
        await rig.post(PATH, asked)
    error = json.loads(rig.body)["error"]
    assert (rig.status, upstream.bodies, error["code"]) == (400, [], "invalid_request")
    assert error["param"] in error["message"]
