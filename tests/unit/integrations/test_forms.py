"""Forms are read as the server behind reads them, or refused: what is passed on is what was read."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.formparsers import MultiPartException

from tallygate.integrations.asgi_types import Message, Scope
from tallygate.integrations.intake import UnreadableError, read_body
from tallygate.integrations.openai.form import HEADERS_BYTES_MAX, PARTS_MAX, FilePart, FormEncoding
from tallygate.integrations.openai.request_body import BadRequestError, ParsedRequest, Shape, capped, read_request
from tallygate.integrations.openai.usage_options import StreamUsage
from tests.harness.asgi.forms import BOUNDARY, Field, fields_of, form

ENCODING = FormEncoding(BOUNDARY.encode())
DELIMITER = f"--{BOUNDARY}".encode()
BYTES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"\0", b"\xff", b"x", b'"'])).map(b"".join)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = ["language", "prompt", "timestamp_granularities[]", "file", "model", "stream", "max_completion_tokens"]
FORMS = st.lists(
    st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), BYTES if name == "file" else TEXTS)),
    min_size=1,
    max_size=8,
    unique_by=lambda field: field if field[0].endswith("[]") else field[0],
)
SCRAPS = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b"--", DELIMITER, b"\r\n" + DELIMITER + b"\r\n", b'"', b";", b" ", b"\\", b"=", b":"),
        *(
            b"*",
            b'; name="stream"',
            b'; filename="x"',
            b"Content-Type: text/plain\r\n",
            b"\r\n\r\n",
            b"\0",
            b"\xff",
            b"",
        ),
    ]
)


HIDDEN = DELIMITER + b'\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue'
"""A field inside of a file, for readers that take its boundary for one wherever it stands."""


def read(raw: bytes, usage: StreamUsage = StreamUsage.RUNNING) -> ParsedRequest:
    return read_request(Shape.TRANSCRIPTION, raw, usage, encoding=ENCODING)


def server_reads(raw: bytes) -> list[Field]:
    return list(asyncio.run(fields_of(raw)))


def we_read(raw: bytes) -> list[Field]:
    """In the order of their names."""
    content, _ = ENCODING.read(raw)
    each = [(name, item) for name, said in content.items() for item in (said if isinstance(said, list) else [said])]
    return by_name([(name, bytes(item.data) if isinstance(item, FilePart) else item) for name, item in each])


def by_name(fields: list[Field]) -> list[Field]:
    return sorted(fields, key=lambda field: field[0])


@given(FORMS)
def test_we_read_what_the_server_reads(fields: list[Field]) -> None:
    """Every text, and every byte of a file."""
    raw = form(*fields)
    assert we_read(raw) == by_name(server_reads(raw)) == by_name(fields)


@given(FORMS, st.dictionaries(st.sampled_from(["model", "stream", "n", "max_completion_tokens"]), st.integers(0, 99)))
def test_what_changes_changes_alone(fields: list[Field], changes: dict[str, int]) -> None:
    """The server reads the new values, and everything else as it came."""
    raw = form(*fields)
    changed = ENCODING.change(raw, ENCODING.read(raw)[0], changes)
    expected = [(name, str(changes.get(name, value)) if isinstance(value, str) else value) for name, value in fields]
    added = [(name, str(value)) for name, value in changes.items() if name not in dict(fields)]
    assert server_reads(changed) == expected + added
    assert changes or changed is raw


@given(FORMS, st.data())
def test_what_is_read_at_all_is_read_as_the_server_reads_it(fields: list[Field], data: st.DataObject) -> None:
    """Whatever is put into a form, or cut out of it: it is refused, or it is no other request to the server."""
    raw = form(*fields)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(begin, min(begin + 4, len(raw))))
        raw = raw[:begin] + data.draw(SCRAPS) + raw[end:]
    try:
        ours = we_read(raw)
    except BadRequestError:
        return
    try:
        assert by_name(server_reads(raw)) == ours
    except MultiPartException:
        return


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        DELIMITER + b"--\r\n",
        form(("model", "m"))[:-4],
        form(("model", "m"))[:-6],
        b"\r\n" + form(("model", "m")),
        b"preamble\r\n" + form(("model", "m")),
        form(("model", "m")) + b"epilogue",
        form(("model", "m")) + form(("model", "n")),
        form(("model", "m")).replace(b"\r\n", b"\n"),
        form(("file", b"x" + DELIMITER + b"x")),
        form(("file", b"x" + HIDDEN)),
        form(("file", b"x\n" + HIDDEN)),
        form(("file", b"x\r" + HIDDEN)),
        form(("model", "m")).replace(DELIMITER + b"\r\n", DELIMITER + b" \r\n"),
        form(("model", "m")).replace(b'name="model"', b""),
        form(("model", "m")).replace(b'name="model"', b'name="model"; name="stream"'),
        form(("model", "m")).replace(b'name="model"', b"name*=utf-8''model"),
        form(("model", "m")).replace(b'name="model"', b'Name="model"'),
        form(("model", "m")).replace(b'name="model"', b'name="mo\\del"'),
        form(("model", "m")).replace(b'name="model"', b'name="mo del"'),
        form(("model", "m")).replace(b'name="model"', b'name="model"; size=1'),
        form(("model", "m")).replace(b'name="model"', b"name=\"file\"; filename*=utf-8''a.wav"),
        form(("file", b"x")).replace(b"a.wav", b"a;name=stream"),
        form(("file", b"x")).replace(b"a.wav", b'a\\"'),
        form(("model", "m")).replace(b"form-data", b"attachment"),
        form(("model", "m")).replace(b"Content-Disposition", b"Content-Type"),
        form(("file", b"x")).replace(b"audio/wav", b"audio/wav\r\ncontent-type: audio/ogg"),
        form(("file", b"x")).replace(b"audio/wav", b"audio/wav\r\n folded"),
        form(("file", b"x")).replace(b"audio/wav", b"audio/wav\r\nwithout-colon"),
        form(("file", b"x")).replace(b"audio/wav", b"audio/wav\r\nContent-Transfer-Encoding: base64"),
        form(("file", b"x")).replace(b"audio/wav", b"x" * HEADERS_BYTES_MAX),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: text/plain; charset=utf-16\r\n\r\nm"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: text/plain; charset*=utf-8''latin1\r\n\r\nm"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: text/plain; charset*0=utf-16\r\n\r\nm"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: text/plain; charset= utf-16\r\n\r\nm"),
        form(("model", "\xfc")).replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", 1),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: Multipart/mixed; boundary=b\r\n\r\nm"),
        form(("file", b"x")).replace(b"audio/wav", b"multipart/mixed; boundary=b"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: message/rfc822\r\n\r\nm"),
        form(("model", "m")).replace(b"; name", b";\tname"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\n\r\n\xff"),
        form(("_charset_", "utf-16"), ("model", "m")),
        form(*((f"a{at}", "") for at in range(PARTS_MAX + 1))),
    ],
)
def test_a_form_that_readers_differ_about_is_refused(raw: bytes) -> None:
    """One reader's field is another one's file, or the end of the form."""
    with pytest.raises(BadRequestError, match=r"form|UTF-8"):
        ENCODING.read(raw)


@pytest.mark.parametrize(
    "raw",
    [
        form(("model", "m"))[:-2],
        form(("model", "m")).replace(b'name="model"', b"name=model"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Type: text/plain; charset=UTF-8\r\n\r\nm"),
        form(("model", "m")).replace(b"\r\n\r\nm", b'\r\nContent-Type: text/plain; Charset="us-ascii"\r\n\r\nm'),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Length: 1\r\n\r\nm"),
        form(("model", "m")).replace(b"\r\n\r\nm", b"\r\nContent-Transfer-Encoding: 8bit\r\n\r\nm"),
    ],
)
def test_a_form_is_read_as_clients_write_it(raw: bytes) -> None:
    """Browsers, curl, OkHttp and .NET do it each in their own way."""
    assert we_read(raw) == server_reads(raw) == [("model", "m")]
    changed = ENCODING.change(raw, {}, {"model": "long"})
    assert we_read(changed) == server_reads(changed) == [("model", "long")]


def test_a_file_has_its_name_as_clients_say_it() -> None:
    """Also where it is said once more in the extended form."""
    named = form(("file", b"x")).replace(b'"a.wav"', b"\"gr\xc3\xbcn.wav\"; filename*=utf-8''gr%C3%BCn.wav")
    content, _ = ENCODING.read(named)
    assert (content["file"].filename, bytes(content["file"].data)) == ("gr\xfcn.wav", b"x")


@pytest.mark.parametrize(
    "fields",
    [
        [("stream", "true"), ("stream", "true")],
        [("model", "m"), ("model", "n")],
        [("file", b"x"), ("file", b"y")],
        [("Stream", "true")],
        [("stream[]", "true")],
        [("Stream_Include_Usage", "true")],
        [("MODEL", "m")],
        [("max_completion_tokens[0]", "7")],
        [("stream", "maybe")],
        [("stream", "")],
        [("stream", b"true")],
        [("stream_include_usage", "2")],
        [("max_completion_tokens", "many")],
        [("max_completion_tokens", "")],
        [("max_completion_tokens", b"7")],
        [("n", "1.5")],
        [("model", b"m")],
        [("background", "true")],
    ],
)
def test_a_field_that_readers_differ_about_is_refused(fields: list[Field]) -> None:
    """As in JSON."""
    with pytest.raises(BadRequestError):
        read(form(*fields))


def test_what_is_plain_passes_byte_for_byte() -> None:
    """Nothing is written that need not be."""
    raw = form(("file", b"x"), ("stream", "false"), ("max_completion_tokens", "7"), ("n", "1"), ("model", "m"))
    parsed = read(raw)
    assert parsed.body is raw
    assert (parsed.model, parsed.streams, parsed.max_output_tokens) == ("m", False, 7)


def test_other_words_are_written_plainly() -> None:
    """So that no server behind takes them for anything else."""
    parsed = read(form(("stream", "False"), ("use_beam_search", "YES"), ("n", " 2"), ("max_completion_tokens", "7.0")))
    assert (parsed.choices, parsed.max_output_tokens) == (2, 14)
    expected = [("stream", "false"), ("use_beam_search", "true"), ("n", "2"), ("max_completion_tokens", "7")]
    assert server_reads(parsed.body) == expected


def test_a_stream_is_made_to_say_its_usage() -> None:
    """In the fields that vLLM has for it; what the client had not asked for is hidden."""
    parsed = read(form(("stream", "True"), ("file", b"x")))
    both = [("stream_include_usage", "true"), ("stream_continuous_usage_stats", "true")]
    assert server_reads(parsed.body) == [("stream", "true"), ("file", b"x"), *both]
    assert (parsed.wants_usage, parsed.hides_usage, parsed.hides_running) == (False, True, True)
    final = read(form(("stream", "true")), StreamUsage.FINAL)
    assert server_reads(final.body) == [("stream", "true"), both[0]]
    assert (final.hides_usage, final.hides_running) == (True, False)
    wanted = form(("stream", "true"), *both)
    parsed = read(wanted)
    assert (parsed.body, parsed.wants_usage, parsed.hides_usage, parsed.hides_running) == (wanted, True, False, False)
    forced = read(form(("stream", "true")), StreamUsage.FORCED)
    assert (forced.body, forced.wants_usage, forced.hides_usage) == (form(("stream", "true")), True, False)


def test_a_limit_holds_for_each_part_of_a_recording() -> None:
    """A whole answer has as many as its bytes allow; a stream is ended when it must stop, however many it has."""
    long = b"x" * 60_000
    fields: list[Field] = [("file", long), ("max_completion_tokens", "50")]
    parsed = read(form(*fields))
    assert (parsed.choices, parsed.max_output_tokens, parsed.limits_parts) == (3, 150, False)
    assert server_reads(capped(parsed, 90))[1:] == [("max_completion_tokens", "30")]
    assert read(form(("file", long * 100))).choices == 21
    stream = read(form(*fields, ("stream", "true")))
    assert (stream.choices, stream.max_output_tokens, stream.limits_parts) == (1, None, True)
    assert server_reads(capped(stream, 30))[:2] == [("file", long), ("max_completion_tokens", "30")]
    assert server_reads(capped(read(form(("file", b""))), 30)) == [("file", b""), ("max_completion_tokens", "30")]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b"Multipart/Form-Data ; Boundary=----WebKitFormBoundary7MA4", b"----WebKitFormBoundary7MA4"),
        (b'multipart/form-data; boundary="a b"', None),
        (b'multipart/form-data; boundary="a/b=c"', b"a/b=c"),
        (b'multipart/form-data; charset=UTF-8; boundary="abc"', b"abc"),
        (b"multipart/form-data; charset=utf-16; boundary=abc", None),
        (b"multipart/form-data; boundary=abc; charset=utf-16", None),
        (b"multipart/form-data; boundary=abc; boundary=def", None),
        (b"multipart/form-data; boundary=", None),
        (b"multipart/form-data; boundary=" + b"x" * 71, None),
        (b"multipart/form-data; boundary=\xff", None),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=abc", None),
        (b"application/x-www-form-urlencoded", None),
        (b"application/json", None),
    ],
)
async def test_the_boundary_stands_in_the_content_type(content_type: bytes, boundary: bytes | None) -> None:
    """What names none, or not plainly, is no form that is read here."""
    scope: Scope = {"headers": [(b"Content-Type", content_type)]}
    if boundary is None:
        with pytest.raises(UnreadableError, match="multipart/form-data"):
            await read_body(scope, no_more, 9, is_form=True)
        return
    body = await read_body(scope, no_more, 9, is_form=True)
    assert body is not None
    assert body.encoding == FormEncoding(boundary)


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"multipart/form-data; boundary=a")] * 2])
async def test_a_form_says_once_that_it_is_one(headers: list[tuple[bytes, bytes]]) -> None:
    """Of two headers, some readers take the first."""
    with pytest.raises(UnreadableError):
        await read_body({"headers": headers}, no_more, 9, is_form=True)


async def test_a_form_is_no_json() -> None:
    """An app could read another request in it."""
    scope: Scope = {"headers": [(b"content-type", b"multipart/form-data; boundary=a")]}
    with pytest.raises(UnreadableError, match="JSON"):
        await read_body(scope, no_more, 9, is_form=False)


async def test_a_body_in_small_pieces_takes_no_more_memory_than_another() -> None:
    """A client decides how it is cut, and a list of its pieces would be many times as large."""
    size, left = 1 << 18, 1 << 18

    async def receive() -> Message:
        nonlocal left
        left -= 2
        return {"type": "http.request", "body": bytes([left % 251, left % 241]), "more_body": left > 0}

    tracemalloc.start()
    try:
        body = await read_body({"headers": []}, receive, size, is_form=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert body is not None
    assert (len(body.raw), body.is_too_long) == (size, False)
    assert peak < 4 * size


async def no_more() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
