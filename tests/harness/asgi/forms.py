"""Forms as clients write them, and as servers read them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser

BOUNDARY = "-Xk8.b"
Field = tuple[str, str | bytes]
"""A name, and a text or the bytes of a file."""


def part(name: str, value: str | bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    if isinstance(value, str):
        return f"{head}\r\n\r\n{value}".encode()
    return f'{head}; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'.encode() + value


def form(*fields: Field, boundary: str = BOUNDARY) -> bytes:
    delimiter = f"--{boundary}".encode()
    parts = [b"%s\r\n%s\r\n" % (delimiter, part(*field)) for field in fields]
    return b"".join([*parts, delimiter, b"--\r\n"])


async def fields_of(raw: bytes, boundary: str = BOUNDARY) -> Sequence[Field]:
    """As Starlette reads them, and so vLLM and SGLang.

    Raises:
        MultiPartException: It cannot.
    """

    async def stream() -> AsyncIterator[bytes]:
        yield raw

    headers = Headers({"content-type": f"multipart/form-data; boundary={boundary}"})
    read = await MultiPartParser(headers, stream()).parse()  # type: ignore[arg-type]  # any iterator does
    try:
        return [(name, value if isinstance(value, str) else await value.read()) for name, value in read.multi_items()]
    finally:
        await read.close()
