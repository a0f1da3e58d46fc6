"""What a request is stamped with when it is authorised: the same for all of its parts, wherever they run."""

from functools import lru_cache
from typing import Final, NamedTuple

from metering_service.domain.pot import LimitPotKey

HOUR_US: Final = 3_600_000_000


class Stamp(NamedTuple):
    """Whose a request is, and the pots of limits that it is charged to.

    Attributes:
        credential: Unique id of the end user's API key; empty for none.
        key_team: Id of the key's team then; empty for none.
        team: Id of the service's team then; empty for none.
        hour_us: The hour of UTC in which it was authorised.
        pots: The pots of limits that it is charged to.
    """

    credential: str = ""
    key_team: str = ""
    team: str = ""
    hour_us: int = 0
    pots: tuple[LimitPotKey, ...] = ()


@lru_cache(maxsize=4_096)
def shared_stamp(credential: str, key_team: str, team: str, hour_us: int, pots: tuple[LimitPotKey, ...] = ()) -> Stamp:
    """The one stamp for all requests of a key and team within an hour: each further object would take 100 bytes."""
    return Stamp(credential, key_team, team, hour_us, pots)


def hour_of(time_us: int) -> int:
    """The beginning of the hour of UTC in which a moment lies."""
    return time_us // HOUR_US * HOUR_US
