"""One API key as this node follows it, and the open requests that it let in."""

from typing import TYPE_CHECKING

from typing_extensions import override

from metering_service.domain.api_key import ApiKey, KeyState
from metering_service.usecases.keys.followed import Followed

if TYPE_CHECKING:
    from metering_service.domain.request import Request


class FollowedKey(Followed[bytes]):
    """An API key, by its SHA-256. `key` is None until control has answered."""

    __slots__ = ("has_expired", "key", "requests")

    def __init__(self, name: bytes, now_ns: int) -> None:
        super().__init__(name, now_ns)
        self.key: ApiKey | None = None
        self.has_expired = False
        """Whether its time is over by this node's clock."""
        self.requests: dict[Request, None] | None = None
        """Open requests that it let in; made when there is one."""

    @property
    @override
    def is_used(self) -> bool:
        return bool(self.requests or self.services or self.waiters)

    @property
    def state(self) -> KeyState:
        """Whether it opens anything now; to be asked once control has answered."""
        assert self.key is not None
        if self.has_expired and self.key.state is KeyState.VALID:
            return KeyState.EXPIRED
        return self.key.state

    def let_in(self, request: "Request") -> bool:
        """Whether it is by this key that a request runs; to be asked once control has answered.

        A key of nobody has let nobody in: where such a one may come along, requests run without a key.
        """
        assert self.key is not None
        return bool(self.key.uid) and self.key.uid == request.stamp.credential
