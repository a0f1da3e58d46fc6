"""Descriptors of a call: what they name for Tallygate, and how many tokens they count."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from tallygate.client import Usage
from tallygate.client.bounds import TOKENS_MAX

SERVICE: Final = "tallygate_service"
KEY: Final = "tallygate_key"
MODEL: Final = "tallygate_model"
REQUEST_ID: Final = "tallygate_request_id"
KIND: Final = "tallygate_kind"
ADDRESS: Final = "remote_address"

_KNOWN: Final = (SERVICE, KEY, MODEL, REQUEST_ID, KIND)
_OURS: Final = re.compile(r"(?:.*[.\[\"'])?(tallygate_\w+)[\"'\]]*")
"""Form of a key: the name, or an expression that ends in it, as Kuadrant's policies make keys of their counters."""
_ALSO: Final = {ADDRESS: ADDRESS, "request.id": REQUEST_ID, "source.remote_address": ADDRESS}
"""Other keys: that of Envoy's action for the client's address, and expressions of Kuadrant's policies."""
INPUT_KINDS: Final = ("input", "cached_input", "cache_write")
_KINDS: Final = (*INPUT_KINDS, "output", "reasoning")
_BEARER: Final = re.compile(r"\A\s*bearer\s+", re.IGNORECASE)


class DescriptorError(ValueError):
    """The descriptors name nothing that can be metered; the message is a sentence that names the key."""


class Entry(Protocol):
    """A key with its value."""

    @property
    def key(self) -> str:
        """The key, as the gateway is configured."""
        ...

    @property
    def value(self) -> str:
        """The value, of one request."""
        ...


@dataclass(frozen=True, slots=True)
class Named:
    """The request that descriptors name.

    Attributes:
        service: Its service; empty where the API key leads to one.
        api_key: The end user's API key; empty where the service is named.
        model: The model as the end user called it; empty for none.
        request_id: Its id; empty where the gateway says none.
        source_address: The client's address, to which keys may be bound; empty where the gateway says none.
    """

    service: str = ""
    api_key: str = field(default="", repr=False)
    model: str = ""
    request_id: str = ""
    source_address: str = ""

    @property
    def payer(self) -> str:
        """The service, or else the key that leads to it."""
        return self.service or self.api_key


@dataclass(frozen=True, slots=True)
class Read:
    """The descriptors of a call, read.

    Attributes:
        named: What they name.
        usage: The tokens that they count; None where none are counted.
        lacks_number: One of them has a kind of tokens, and nothing says how many.
    """

    named: Named
    usage: Usage | None
    lacks_number: bool = False


def read(descriptors: Iterable[tuple[Iterable[Entry], int | None]], tokens: int = 0) -> Read:
    """What descriptors name, and the tokens that they count: of each kind the greatest number.

    Args:
        descriptors: Their entries, and their own number of tokens if they have one.
        tokens: The number of tokens of those that have none of their own; 0 where nothing is counted.

    Raises:
        DescriptorError: They name no request that can be metered, or count what cannot be.
    """
    named: dict[str, str] = {}
    counts: dict[str, int] = {}
    lacks_number = False
    for entries, own in descriptors:
        found = dict(_ours(entries))
        lacks_number |= KIND in found and own is None and not tokens
        counts_tokens = bool(found.keys() - {ADDRESS})
        kind = found.pop(KIND, "output")
        for key, value in found.items():
            if named.setdefault(key, value) != value:
                raise DescriptorError(f"The descriptors of one call have two values of {key}: say one.")
        count = tokens if own is None else own
        if count and counts_tokens:
            counts[kind] = max(counts.get(kind, 0), checked(count, kind))
    if not (named.get(SERVICE) or named.get(KEY)):
        raise DescriptorError(f"No descriptor has {SERVICE} or {KEY}: one of them says who pays.")
    request = Named(
        named.get(SERVICE, ""),
        "" if named.get(SERVICE) else named[KEY],
        named.get(MODEL, ""),
        named.get(REQUEST_ID, ""),
        named.get(ADDRESS, ""),
    )
    return Read(request, usage_of(counts) if counts else None, lacks_number)


def read_kind(descriptors: Iterable[Iterable[Entry]]) -> str:
    """The one kind of tokens that the descriptors of a reservation are about.

    Raises:
        DescriptorError: There are several, or none of that name.
    """
    kinds = {dict(_ours(entries)).get(KIND, "") for entries in descriptors} - {""} or {"output"}
    if len(kinds) > 1:
        raise DescriptorError(f"The descriptors of one reservation have several values of {KIND}: say one.")
    return kinds.pop()


def checked(count: int, kind: str = "output") -> int:
    """A number of tokens.

    Raises:
        DescriptorError: No request has so many.
    """
    if not 0 <= count <= TOKENS_MAX:
        raise DescriptorError(f"{count:,} {kind} tokens cannot be: a request has at most {TOKENS_MAX:,}.")
    return count


def usage_of(counts: dict[str, int]) -> Usage:
    """Counts by kind."""
    return Usage(**{f"{kind}_tokens": count for kind, count in counts.items()})


def _ours(entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """The entries that speak to Tallygate, their keys as they are written here; empty values say nothing."""
    for entry in entries:
        match = _OURS.fullmatch(entry.key)
        key = match[1] if match else _ALSO.get(entry.key, "")
        if not key:
            continue
        if match and key not in _KNOWN:
            meant = difflib.get_close_matches(key, _KNOWN, n=1, cutoff=0) or _KNOWN
            raise DescriptorError(f"{key[:64]} is no key of a descriptor that is known here: write {meant[0]}.")
        value = _BEARER.sub("", entry.value, count=1).strip() if key == KEY else entry.value
        if key == KIND and value not in _KINDS:
            raise DescriptorError(f"{KIND} is {value[:64]!r}: write one of {', '.join(_KINDS)}.")
        if value:
            yield key, value
