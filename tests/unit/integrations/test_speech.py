"""Speech to text: what its answers say of tokens, and what is estimated where they say nothing."""

from __future__ import annotations

import json
from struct import pack
from typing import Any

import pytest

from tallygate.client import Usage
from tallygate.integrations.answer_counts import AnswerCounts
from tallygate.integrations.habits import ServerHabits
from tallygate.integrations.openai.answer import WHOLE_BYTES_MAX, Reading
from tallygate.integrations.openai.estimate import estimate_input_tokens
from tallygate.integrations.openai.form import FormEncoding
from tallygate.integrations.openai.recordings import count_parts_max, estimate_recording_tokens
from tallygate.integrations.openai.request_body import ParsedRequest, Shape, read_request
from tallygate.integrations.openai.speech_answer import SpeechAnswer
from tallygate.integrations.openai.stream import MeteredStream
from tallygate.integrations.openai.usage_options import StreamUsage
from tests.harness.asgi.forms import BOUNDARY, Field, form

DONE = b"data: [DONE]\n\n"
ASKED = ("stream_include_usage", "true")


def parsed(*fields: Field, shape: Shape = Shape.TRANSCRIPTION) -> ParsedRequest:
    raw = form(("model", "m"), ("stream", "true"), *fields)
    return read_request(shape, raw, encoding=FormEncoding(BOUNDARY.encode()))


def event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, separators=(',', ':'))}\n\n".encode()


def chunk(text: str | None, said: tuple[int, int] | None = None, *, ends: bool = False) -> bytes:
    """As vLLM 0.32 writes it; without a text, the last one."""
    last = {"finish_reason": "stop", "stop_reason": None} if ends else {}
    choices = [] if text is None else [{"delta": {"content": text}, **last}]
    content = {"id": "transcribe-1", "object": "transcription.chunk", "created": 1, "model": "m", "choices": choices}
    if said is None:
        return event(content)
    usage = {"prompt_tokens": said[0], "total_tokens": sum(said), "completion_tokens": said[1]}
    return event({**content, "usage": usage})


def through(stream: MeteredStream, *events: bytes) -> bytes:
    return b"".join(stream.feed(each) for each in events)


@pytest.mark.parametrize("cut", [1, 7, 1_000])
def test_usage_that_was_asked_for_is_hidden_byte_for_byte(cut: int) -> None:
    """In each chunk and at the end, over all parts of the recording."""
    texts = [("a", False), (" b", True), (" c", False), ("", True)]
    written = b"".join(chunk(text, (3_004, at + 1), ends=ends) for at, (text, ends) in enumerate(texts))
    written += chunk(None, (3_004, 5)) + DONE
    stream = MeteredStream(parsed(), "r")
    shown = through(stream, *(written[at : at + cut] for at in range(0, len(written), cut))) + stream.close()
    assert shown == b"".join(chunk(text, ends=ends) for text, ends in texts) + DONE
    assert (stream.usage, stream.since, stream.problem) == (Usage(3_004, output_tokens=5), (0, 0), "")


def test_usage_that_the_client_asked_for_is_shown() -> None:
    """At the end, without what it had not asked for in each chunk."""
    stream = MeteredStream(parsed(ASKED), "r")
    end = chunk(None, (104, 1))
    assert through(stream, chunk("a", (104, 1), ends=True), end, DONE) == chunk("a", ends=True) + end + DONE


def test_the_end_of_a_part_is_not_the_end() -> None:
    """Nobody knows how many parts a recording has: such a stream can be stopped until it is over."""
    stream = MeteredStream(parsed(), "r")
    assert through(stream, chunk("a", (104, 1), ends=True)) == chunk("a", ends=True)
    assert not stream.is_finished
    end = stream.end(Usage(104, output_tokens=1))
    last: dict[str, Any] = {"delta": {}, "finish_reason": "length", "stop_reason": None}
    assert [json.loads(line[6:])["choices"] for line in end.split(b"\n\n")[:-2]] == [[last]]
    assert end.endswith(DONE)


@pytest.mark.parametrize(
    ("shape", "task"), [(Shape.TRANSCRIPTION, "transcription"), (Shape.TRANSLATION, "translation")]
)
def test_a_stream_that_has_not_begun_is_ended_in_its_words(shape: Shape, task: str) -> None:
    """As vLLM would, with usage for a client that asked for it."""
    lines = MeteredStream(parsed(ASKED, shape=shape), "r").end(Usage(9, output_tokens=2)).split(b"\n\n")
    said = [json.loads(line[6:]) for line in lines[:2]]
    assert [each["object"] for each in said] == [f"{task}.chunk"] * 2
    assert said[1]["usage"]["prompt_tokens"] == 9


def test_pieces_count_where_no_usage_is_said() -> None:
    """As of SGLang, whose chunks have none."""
    stream = MeteredStream(parsed(), "r")
    nothing = {"choices": [{"delta": {"role": None, "content": None}, "finish_reason": "stop"}], "usage": None}
    events = [chunk("a"), chunk("b"), chunk("c"), event(nothing), DONE]
    assert through(stream, *events) == b"".join(events)
    assert (stream.usage, stream.since) == (None, (3, 0))


def delta(text: str, **more: Any) -> bytes:
    return event({"type": "transcript.text.delta", "delta": text, **more})


def done(text: str, **more: Any) -> bytes:
    return event({"type": "transcript.text.done", "text": text, **more})


def test_events_of_openai_say_their_usage_at_the_end() -> None:
    """Nothing of it was added for us, so that nothing is hidden."""
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
    details = {"input_token_details": {"text_tokens": 0, "audio_tokens": 14}}
    events = [delta("a"), delta("b", logprobs=[{}, {}]), done("ab", usage={**usage, **details})]
    stream = MeteredStream(parsed(), "r")
    assert through(stream, *events[:2]) == b"".join(events[:2])
    assert (stream.tokens, stream.is_finished) == (3, False)
    assert through(stream, events[2]) == events[2]
    assert (stream.usage, stream.since, stream.is_finished) == (Usage(14, output_tokens=45), (0, 0), True)
    assert stream.end(Usage()) == b""


def test_a_text_that_comes_twice_counts_once() -> None:
    """In pieces or segments, and at the end once more as a whole."""
    segment = event({"type": "transcript.text.segment", "text": "four"})
    for first, tokens in ((delta("four"), 1), (segment, 1), (event({"text": "twelve bytes"}), 3)):
        stream = MeteredStream(parsed(), "r")
        through(stream, first, done("four"))
        assert (stream.usage, stream.since) == (None, (tokens, 0))
    stream = MeteredStream(parsed(), "r")
    through(stream, done("twelve bytes"))
    assert stream.since == (3, 0)


def test_events_of_openai_are_ended_by_one_of_them() -> None:
    """With the text so far, which its clients take from there."""
    stream = MeteredStream(parsed(), "r")
    through(stream, delta("a"), delta("b"))
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}
    assert stream.end(Usage(14, output_tokens=2)) == done("ab", usage=usage)


@pytest.mark.parametrize("said", [{"error": {"message": "no"}}, {"object": "error", "message": "no"}])
def test_an_error_in_a_stream_is_one(said: dict[str, Any]) -> None:
    """Nothing was generated, so that nothing is recorded."""
    stream = MeteredStream(parsed(), "r")
    through(stream, event(said), DONE)
    assert (stream.has_failed, stream.since) == (True, (0, 0))


def test_what_is_no_object_is_counted_as_something() -> None:
    """It is not nothing."""
    stream = MeteredStream(parsed(), "r")
    through(stream, b"data: [1]\n\n", b"data: plain words\n\n")
    assert stream.since == (2, 0)


SEGMENTS = [{"text": "a", "tokens": [1, 2]}, {"text": "b", "tokens": [3]}]
SUBTITLES = "1\n00:00:00,000 --> 00:00:02,000\ntwelve bytes\n\n2\n00:00:02,000 --> 00:00:04,000\nfour\n"


@pytest.mark.parametrize(
    ("body", "tokens", "input_tokens"),
    [
        pytest.param({"text": "twelve bytes", "usage": {"type": "duration", "seconds": 12}}, 3, 1_200, id="json"),
        pytest.param({"text": "twelve bytes"}, 3, None, id="translation"),
        pytest.param({"text": "ab", "duration": 12.5, "segments": SEGMENTS}, 3, 1_250, id="verbose"),
        pytest.param({"text": "twelve bytes", "duration": 3, "segments": [{"text": "x"}]}, 3, 300, id="no ids"),
        pytest.param({"text": "twelve bytes" * 2, "segments": [*SEGMENTS, {"text": "x"}]}, 6, None, id="some ids"),
        pytest.param({"text": "twelve bytes", "segments": [{"tokens": []}] * 2}, 3, None, id="empty ids"),
        pytest.param({"text": "twelve bytes", "error": "cut off"}, 3, None, id="an error beside a text"),
        pytest.param({"text": "twelve bytes", "duration": 0, "segments": []}, 3, None, id="no length"),
        pytest.param({"text": "", "usage": {"type": "duration", "seconds": True}}, 0, 100, id="nothing said"),
        pytest.param({"text": "", "usage": {"seconds": 1e300}}, 0, None, id="too long to be"),
        pytest.param("twelve bytes\n", 3, None, id="text"),
        pytest.param("12345678", 2, None, id="digits"),
        pytest.param("0070\n", 1, None, id="digits that are no JSON"),
        pytest.param("a --> b\n", 2, None, id="an arrow"),
        pytest.param("WEBVTT is it", 3, None, id="the name of a format"),
        pytest.param('["x"]', 2, None, id="brackets"),
        pytest.param("", 0, None, id="no text"),
        pytest.param(SUBTITLES, 5, None, id="srt"),
        pytest.param(SUBTITLES.replace("four", "0444"), 5, None, id="srt of digits"),
        pytest.param(f"WEBVTT\r\n\r\n{SUBTITLES}".replace("\n", "\r\n"), 5, None, id="vtt"),
        pytest.param('{"usage":{"seconds":2},"text":"twelve bytes', 11, 200, id="broken off"),
    ],
)
def test_the_output_of_a_whole_answer_is_estimated_by_its_text(
    body: str | dict[str, Any], tokens: int, input_tokens: int | None
) -> None:
    """Its input by how long the recording was, where the server says that."""
    answer = SpeechAnswer()
    answer.feed(body.encode() if isinstance(body, str) else json.dumps(body).encode())
    has_ids = isinstance(body, dict) and body.get("segments") == SEGMENTS
    assert answer.read() == Reading(None, tokens, is_refusal=False, input_tokens=input_tokens, is_rough=not has_ids)


def test_tokens_that_are_said_count() -> None:
    """OpenAI's later models say them."""
    answer = SpeechAnswer()
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
    answer.feed(json.dumps({"text": "x", "usage": usage}).encode())
    assert answer.read() == Reading(Usage(14, output_tokens=45), 0, is_refusal=False)


@pytest.mark.parametrize("said", [{"error": {"message": "no"}}, {"object": "error", "message": "no", "code": 400}])
def test_an_error_is_no_answer(said: dict[str, Any]) -> None:
    """Whatever its status."""
    answer = SpeechAnswer()
    answer.feed(json.dumps(said).encode())
    assert answer.read() == Reading(None, 0, is_refusal=True)


def test_an_answer_of_any_length_is_estimated_by_its_text() -> None:
    """Segments of a long one, which repeat it, do not count."""
    text = "four" * (WHOLE_BYTES_MAX // 4)
    long = {"text": text, "segments": [{"text": text}], "usage": {"type": "duration", "seconds": 12}}
    for body, tokens, input_tokens in ((json.dumps(long), len(text) / 4, 1_200), (text + "!", len(text) / 4, None)):
        answer = SpeechAnswer()
        for at in range(0, len(body), 60_000):
            answer.feed(body[at : at + 60_000].encode())
        reading = answer.read()
        assert (reading.usage, reading.input_tokens) == (None, input_tokens)
        assert tokens <= reading.tokens <= tokens + 4


def test_how_fast_a_server_transcribes_is_learned_from_estimates() -> None:
    """No whole answer says its tokens, and of one that nobody waited for something has to be recorded."""
    habits = ServerHabits(StreamUsage.RUNNING)
    whole = read_request(Shape.TRANSCRIPTION, form(("model", "m")), encoding=FormEncoding(BOUNDARY.encode()))
    answer = AnswerCounts(whole, "r", None, habits)
    answer.start([])
    answer.feed(b'{"text": "twelve bytes"}', more=False)
    assert answer.counts(is_complete=True, has_left=False).tokens == 3
    assert habits.guess_tokens(10**18) > 1


def wave(seconds: int, *, samples_per_second: int = 16_000, kind: int = 1, channels: int = 1) -> memoryview:
    rate = samples_per_second * 2 * channels
    fmt = pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, samples_per_second, rate, 2 * channels, 16)
    data = bytes(rate * seconds)
    body = b"WAVE" + fmt + pack("<4sI", b"data", len(data)) + data
    return memoryview(pack("<4sI", b"RIFF", len(body)) + body)


def test_uncompressed_sound_is_as_long_as_its_header_says() -> None:
    """A hundred tokens a second, as vLLM counts for Whisper; parts of some thirty seconds."""
    for sound in (wave(10), wave(10, samples_per_second=48_000, channels=2), wave(10, kind=3)):
        assert estimate_recording_tokens(sound) == 1_001
        assert count_parts_max(sound) == 1
    assert count_parts_max(wave(60)) == 3


@pytest.mark.parametrize("sound", [bytes(12_800), bytes(wave(1, kind=2))[:12_800], b"RIFF" + bytes(12_796)])
def test_any_other_sound_is_estimated_by_its_size(sound: bytes) -> None:
    """As if it were compressed."""
    assert (estimate_recording_tokens(memoryview(sound)), count_parts_max(memoryview(sound))) == (100, 1)
    assert (estimate_recording_tokens(memoryview(b"")), count_parts_max(memoryview(b""))) == (0, 1)
    assert count_parts_max(memoryview(sound + bytes(10_000))) == 2


def test_no_recording_is_longer_than_servers_take() -> None:
    """Ten minutes."""
    assert estimate_recording_tokens(memoryview(bytes(10_000_000))) == 60_000
    assert count_parts_max(memoryview(bytes(10_000_000))) == 21


def test_a_header_that_cannot_be_is_not_believed() -> None:
    """No samples a second."""
    assert estimate_recording_tokens(wave(1, samples_per_second=0)) == 1


def test_the_input_of_a_form_is_its_recordings_and_its_texts() -> None:
    """What is held before it runs."""
    content, _ = FormEncoding(BOUNDARY.encode()).read(
        form(("model", "m"), ("file", bytes(12_800)), ("audio[]", bytes(12_800)), ("prompt", "four" * 5))
    )
    assert estimate_input_tokens(content) == 100 + 100 + 5
