"""Reading of requests: all wrong fields are named in one error."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Final, Self, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control_service.domain.currency import CODES, nearest_currencies
from control_service.domain.errors import InvalidRequestError
from control_service.domain.input_bounds import (
    ALIAS_COUNT_MAX,
    LABEL_COUNT_MAX,
    LABEL_KEY_MAX,
    TEXT_MAX,
)
from control_service.domain.member import require_member
from control_service.domain.names import (
    MalformedNameError,
    parse_access_token,
    parse_account,
    parse_api_key,
    parse_binding,
    parse_custom_service,
    parse_model,
    parse_price,
    parse_reservation,
    parse_service,
    parse_service_account,
    parse_team,
    parse_team_id,
    parse_webhook,
)
from control_service.domain.texts import is_plain
from tallygate._access.scope import PLATFORM, Scope, parse_scope
from tallygate._server.clock import NS_PER_US, US_PER_SECOND
from tallygate._wire.amounts import units_text
from tallygate._wire.enums import EnumNames, decode_enum
from tallygate._wire.times import decode_ns, is_normal

Value = TypeVar("Value")
Member = TypeVar("Member", bound=StrEnum)

_CURRENCY_LENGTH: Final = 3
INT64_MAX: Final = 2**63 - 1
_YEAR_10000_S: Final = 253_402_300_800


class Fields:
    """Collects the violations of a request, and raises all of them at the end of its `with` block.

    Every method returns the value where it is right, and something of its type where it is not.
    """

    def __init__(self) -> None:
        # In their order; many may be wrong in a message of many parts, and none is to be searched for.
        self._violations: dict[tuple[str, str], None] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._violations and error is None:
            raise InvalidRequestError(list(self._violations))

    def refuse(self, path: str, what: str) -> None:
        """Notes that a field is wrong, once."""
        self._violations[path, what] = None

    def account(self, path: str, name: str) -> str:
        """The id in `accounts/{account}`."""
        return self._named(path, name, parse_account, "")

    def model(self, path: str, name: str) -> str:
        """The id in `models/{model}`."""
        return self._named(path, name, parse_model, "")

    def price(self, path: str, name: str) -> tuple[str, int]:
        """The model's id and the version in `models/{model}/prices/{price}`."""
        return self._named(path, name, parse_price, ("", 0))

    def service(self, path: str, name: str) -> tuple[str, str]:
        """The ids in `accounts/{account}/services/{service}`."""
        return self._named(path, name, parse_service, ("", ""))

    def custom_service(self, path: str, name: str) -> tuple[str, str]:
        """The ids in the name of a custom service."""
        return self._named(path, name, parse_custom_service, ("", ""))

    def team(self, path: str, name: str) -> tuple[str, str]:
        """The ids in `accounts/{account}/teams/{team}`."""
        return self._named(path, name, parse_team, ("", ""))

    def webhook(self, path: str, name: str) -> tuple[str, str]:
        """The ids in `accounts/{account}/webhooks/{webhook}`."""
        return self._named(path, name, parse_webhook, ("", ""))

    def team_id(self, path: str, text: str) -> str:
        """The id of a team of the account that the request names; empty for none."""
        return self._named(path, text, parse_team_id, "") if text else ""

    def api_key(self, path: str, name: str) -> tuple[str, str]:
        """The ids in `accounts/{account}/keys/{key}`."""
        return self._named(path, name, parse_api_key, ("", ""))

    def reservation(self, path: str, name: str) -> tuple[str, str, int]:
        """The ids and the number in the name of a reservation."""
        return self._named(path, name, parse_reservation, ("", "", 0))

    def scope(self, path: str, name: str) -> Scope:
        """The scope of this name."""
        scope = parse_scope(name)
        if scope is None:
            self.refuse(path, "must be platform, accounts/{account} or accounts/{account}/teams/{team}")
        return scope or PLATFORM

    def principal(self, path: str, member: str) -> str:
        """Whom bindings give roles to, and what tokens and certificates prove."""
        return self._named(path, member, require_member, "")

    def binding(self, path: str, name: str) -> tuple[Scope, str]:
        """Scope and id in the name of a binding."""
        return self._named(path, name, parse_binding, (PLATFORM, ""))

    def service_account(self, path: str, name: str) -> tuple[Scope, str]:
        """Scope and id in the name of a service account."""
        return self._named(path, name, parse_service_account, (PLATFORM, ""))

    def access_token(self, path: str, name: str) -> tuple[str, str]:
        """The service account's name and the id in the name of a token."""
        return self._named(path, name, parse_access_token, ("", ""))

    def text(self, path: str, value: str, longest: int = TEXT_MAX) -> str:
        """A text on one line, as of texts.py."""
        if len(value) > longest:
            self.refuse(path, f"must not be longer than {longest} characters")
        if not is_plain(value):
            self.refuse(path, "must not contain control characters, line breaks or marks that turn text around")
        return value

    def required_text(self, path: str, value: str, longest: int = TEXT_MAX) -> str:
        """A text, as `text`, that is not blank."""
        if not value.strip():
            self.refuse(path, "must not be empty")
        return self.text(path, value, longest)

    def currency(self, path: str, value: str, default: str) -> str:
        """An ISO 4217 code of a currency that there is."""
        if value and value not in CODES:
            nearest = " or ".join(nearest_currencies(value[:_CURRENCY_LENGTH]))
            self.refuse(
                path, "must be an ISO 4217 code, three capital letters" + (f", such as {nearest}" if nearest else "")
            )
        return value or default

    def nanos(self, path: str, value: int, least: int, greatest: int) -> int:
        """An amount of money within bounds, which are said in units as well: people type those."""
        if not least <= value <= greatest:
            self.refuse(
                path,
                f"must be from {least} to {greatest} nanos, which is "
                f"{units_text(least)} to {units_text(greatest)} of the currency",
            )
        return value

    def number(self, path: str, value: int, least: int, greatest: int) -> int:
        """A number within bounds, both included."""
        if not least <= value <= greatest:
            self.refuse(path, f"must be from {least} to {greatest}")
        return value

    def member(self, path: str, names: EnumNames, number: int, kind: type[Member]) -> Member | None:
        """A value of an enum; None where the value is unspecified."""
        if number == 0:
            return None
        try:
            return decode_enum(names, kind, number)
        except ValueError:
            self.refuse(path, f"must be one of {', '.join(kind)}")
            return None

    def labels(self, path: str, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels of a service."""
        if len(labels) > LABEL_COUNT_MAX:
            self.refuse(path, f"must not be more than {LABEL_COUNT_MAX}")
        for key, value in labels.items():
            self.required_text(f"{path}.key", key, LABEL_KEY_MAX)
            self.text(f"{path}.value", value)
        return dict(labels)

    def aliases(self, path: str, aliases: Sequence[str]) -> tuple[str, ...]:
        """Names of a model as inference servers spell them, each once."""
        if len(aliases) > ALIAS_COUNT_MAX:
            self.refuse(path, f"must not be more than {ALIAS_COUNT_MAX}")
        for index, alias in enumerate(aliases):
            self.required_text(f"{path}[{index}]", alias)
            if alias in aliases[:index]:
                self.refuse(f"{path}[{index}]", "is there twice")
        return tuple(aliases)

    def moment_us(self, path: str, value: Timestamp) -> int:
        """A moment, in microseconds since 1970, rounded down."""
        if not (0 <= value.seconds < _YEAR_10000_S and is_normal(value)):
            self.refuse(path, "must be a time from 1970 to 9999")
        return decode_ns(value) // NS_PER_US

    def duration_us(self, path: str, value: Duration, longest_us: int) -> int:
        """A length of time greater than zero, in microseconds, rounded down."""
        length_us = decode_ns(value) // NS_PER_US
        if not (0 < length_us <= longest_us and is_normal(value)):
            self.refuse(path, f"must be longer than zero and at most {longest_us // US_PER_SECOND} s")
        return length_us

    def overlap_us(self, path: str, value: Duration, longest_us: int) -> int:
        """A length of time for which a secret outlasts its rotation, in microseconds; zero ends it at once."""
        return 0 if value == Duration() else self.duration_us(path, value, longest_us)

    def _named(self, path: str, name: str, parse: Callable[[str], Value], blank: Value) -> Value:
        try:
            return parse(name)
        except MalformedNameError as error:
            self.refuse(path, str(error))
            return blank
