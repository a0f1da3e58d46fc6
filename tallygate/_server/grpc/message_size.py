"""How much goes into one message: clients take 4 MiB, and a call whose answer is larger fails for good."""

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

ANSWER_BYTES_MAX: Final = 3 * 1024 * 1024
"""Of an answer that cannot be had in parts."""
PAGE_BYTES_MAX: Final = 1024 * 1024
"""Of a page, unless its first element alone is larger."""
OVERHEAD_BYTES: Final = 8
"""Of an element in its list: its tag and its length."""

Element = TypeVar("Element")
Encoded = TypeVar("Encoded", bound=Message)


def fitting(
    elements: Iterable[Element], encode: Callable[[Element], Encoded], bytes_max: int = PAGE_BYTES_MAX
) -> list[Encoded]:
    """The first of these elements, encoded: as many as fit, and one at least where there are any."""
    messages: list[Encoded] = []
    size_bytes = 0
    for element in elements:
        message = encode(element)
        size_bytes += message.ByteSize() + OVERHEAD_BYTES
        if messages and size_bytes > bytes_max:
            break
        messages.append(message)
    return messages


def fill(
    messages: Any,
    elements: Iterable[Element],
    encode_into: Callable[[Any, Element], None],
    bytes_max: int = PAGE_BYTES_MAX,
) -> int:
    """As `fitting`, in a list of an answer, which takes half the time where there are many. Returns how many fit."""
    size_bytes = 0
    for element in elements:
        message = messages.add()
        encode_into(message, element)
        size_bytes += message.ByteSize() + OVERHEAD_BYTES
        if size_bytes > bytes_max and len(messages) > 1:
            del messages[-1]
            break
    return len(messages)
