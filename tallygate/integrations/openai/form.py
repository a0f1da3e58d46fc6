"""A request's body as a form (multipart/form-data), read so that every server behind reads the same, or refused.

Readers of forms differ more than readers of JSON: in what they take for the end of a part, for a name, for a file, and
in what they make of a field that comes twice. So only the plain form is read, as RFC 7578 has it and clients write it;
anything else is refused. What is read is passed on byte for byte, but for the fields that have to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from tallygate.integrations.openai.request_json import BadRequestError

PARTS_MAX = 128
"""Maximum number of parts of a form."""

HEADERS_BYTES_MAX = 4_096
"""Maximum size of the headers before the data of a part."""

_CRLF = b"\r\n"
_END_OF_HEADERS = b"\r\n\r\n"
_NAME = re.compile(rb"[A-Za-z0-9_.\[\]-]{1,64}")
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DISPOSITION = re.compile(
    rb"form-data((?:; *(?:"
    rb'(?:name|filename)=(?:"[^"\\;\x00-\x1f\x7f]*"|[A-Za-z0-9_.\[\]-]+)'
    rb"|filename\*=[A-Za-z0-9!#$&+.^_`|~'%-]+"
    rb"))+)"
)
_PARAMETER = re.compile(rb'; *([a-z*]+)=(?:"([^"]*)"|([^;]*))')
_PLAIN_ENCODINGS = frozenset({b"binary", b"8bit", b"7bit"})
_CHARSET = re.compile(rb"charset=\"?([a-z0-9-]{1,16})\"?[ \t]*(?:;|\Z)")
_CHARSETS = {b"utf-8": "utf-8", b"utf8": "utf-8", b"us-ascii": "ascii"}
_PARTS_INSIDE = re.compile(rb"(?i:multipart|message)\b")
"""Types of parts that have parts of their own, which some readers take apart."""
_CHARSET_FIELD = b"_charset_"
"""Name of the field by which some readers take all other fields to be in another encoding."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file in a form.

    Attributes:
        filename: Its name, as the client wrote it.
        data: Its bytes, where they lie in the request's body.
    """

    filename: str
    data: memoryview


@dataclass(frozen=True, slots=True)
class _Part:
    """One part: from `begin`, where its delimiter begins, to `end`, behind its data and before the next delimiter."""

    name: str
    filename: str | None
    charset: str
    begin: int
    data_begin: int
    end: int


@dataclass(frozen=True, slots=True)
class FormEncoding:
    """Reads and changes forms of one boundary, as in the request's content type."""

    boundary: bytes

    def read(self, raw: bytes) -> tuple[dict[str, Any], bytes]:
        """The fields of a form, and the body as it is passed on.

        Texts are strings, files are `FilePart`. A field whose name ends with `[]` is a list, however often it comes.

        Raises:
            BadRequestError: It is no plain form in UTF-8, or has a field twice.
        """
        content: dict[str, Any] = {}
        view = memoryview(raw)
        for part in self._parts(raw):
            data = view[part.data_begin : part.end]
            value: str | FilePart
            value = _text(part, data) if part.filename is None else FilePart(part.filename, data)
            if part.name.endswith("[]"):
                content.setdefault(part.name, []).append(value)
            elif part.name in content:
                raise BadRequestError(f"The request's form has the field `{part.name}` twice: say it once.", part.name)
            else:
                content[part.name] = value
        return content, raw

    def change(self, raw: bytes, content: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:  # noqa: ARG002  # the body has it all
        """The body with some of its fields changed or added; all others, and all files, byte for byte as they came.

        Args:
            raw: A body that `read` has taken.
            content: Its fields.
            changes: Texts, whole numbers and truths, by the names of their fields.
        """
        if not changes:
            return raw
        written = {name: _written(value) for name, value in changes.items()}
        pieces: list[bytes | memoryview] = []
        view = memoryview(raw)
        copied = 0
        for part in self._parts(raw):
            new = written.pop(part.name, None)
            if new is not None and new != view[part.data_begin : part.end]:
                pieces += [view[copied : part.begin], self._text_part(part.name, new)]
                copied = part.end
        if not (pieces or written):
            return raw
        close = raw.rindex(_CRLF + self._delimiter)
        pieces.append(view[copied : close + len(_CRLF)])
        pieces += [self._text_part(name, value) + _CRLF for name, value in written.items()]
        return b"".join([*pieces, view[close + len(_CRLF) :]])

    @property
    def _delimiter(self) -> bytes:
        return b"--" + self.boundary

    def _text_part(self, name: str, value: bytes) -> bytes:
        head = f'Content-Disposition: form-data; name="{name}"'.encode()
        return _CRLF.join([self._delimiter, head, b"", value])

    def _parts(self, raw: bytes) -> Iterator[_Part]:
        """The parts, in their order. The delimiter may stand nowhere else, not even inside of a file."""
        delimiter = self._delimiter
        if not raw.startswith(delimiter):
            _refuse("does not begin with its boundary")
        begin, count = 0, 0
        while True:
            head = begin + len(delimiter)
            if raw.startswith(b"--", head):
                if raw[head + 2 :] not in {b"", _CRLF} or not count:
                    _refuse("has no parts" if not count else "goes on behind its end")
                return
            count += 1
            if count > PARTS_MAX:
                _refuse(f"has more than {PARTS_MAX} parts")
            following = raw.find(delimiter, head)
            end = following - len(_CRLF)
            headers_end = raw.find(_END_OF_HEADERS, head, max(end, head))
            if following < 0 or headers_end < 0 or not raw.startswith(_CRLF, head) or raw[end:following] != _CRLF:
                _refuse("breaks off, or has a part without an end")
            named = _read_headers(raw[head + len(_CRLF) : headers_end])
            yield _Part(*named, begin, headers_end + len(_END_OF_HEADERS), end)
            begin = following


def _read_headers(block: bytes) -> tuple[str, str | None, str]:
    """The name of a part, that of its file, if it is one, and the encoding of its text."""
    headers = _split_headers(block)
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
        _refuse("has a part that is encoded: send it as it is")
    found = _DISPOSITION.fullmatch(headers.get(b"content-disposition", b""))
    said = [] if found is None else _PARAMETER.findall(found[1])
    values = {name: quoted or plain for name, quoted, plain in said}
    name, filename = values.get(b"name", b""), values.get(b"filename")
    # Of a file that has its name in the extended form alone, some readers make a text.
    is_clear = len(values) == len(said) and (filename is not None or b"filename*" not in values)
    if not is_clear or not _NAME.fullmatch(name) or name == _CHARSET_FIELD:
        _refuse("has a part without a plain name, or a file whose name has quotes, backslashes or semicolons")
    kind = headers.get(b"content-type", b"")
    if _PARTS_INSIDE.match(kind):
        _refuse("has a part with parts of its own")
    if filename is not None:
        return name.decode(), filename.decode("utf-8", "replace"), ""
    return name.decode(), None, _read_charset(kind)


def _read_charset(content_type: bytes) -> str:
    """The encoding of a text. Its name in an extended form (`charset*=`) is read by some, and by others is none."""
    said = _CHARSET.findall(content_type.lower()) if b"charset" in content_type.lower() else [b"utf-8"]
    if len(said) != 1 or said[0] not in _CHARSETS or content_type.lower().count(b"charset") > 1:
        _refuse("has a text that is not in UTF-8")
    return _CHARSETS[said[0]]


def _split_headers(block: bytes) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for line in block.split(_CRLF) if len(block) <= HEADERS_BYTES_MAX else (b"",):
        name, colon, value = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value) or name.lower() in headers:
            _refuse("has a part whose headers cannot be read")
        headers[name.lower()] = value.strip(b" \t")
    return headers


def _text(part: _Part, data: memoryview) -> str:
    try:
        return str(data, part.charset)
    except UnicodeDecodeError:
        raise BadRequestError(f"The field `{part.name}` is not in UTF-8, or not in what it says.", part.name) from None


def _written(value: object) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode()


def _refuse(what: str) -> NoReturn:
    raise BadRequestError(f"The request's form {what}.")
