"""All API keys and models that this node follows, which reports wait for one, and which requests a key let in."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from metering_service.domain.api_key import ApiKey, KeyState, ModelMeaning
from metering_service.usecases.keys.followed import FollowedTable
from metering_service.usecases.keys.followed_key import FollowedKey
from metering_service.usecases.keys.followed_model import FollowedModel
from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.ends import Ends
from metering_service.usecases.state.followed_accounts import FollowedAccounts
from metering_service.usecases.state.look_up_rate import LookUpRate
from tallygate._server.clock import Clock

if TYPE_CHECKING:
    from metering_service.domain.request import Request
    from metering_service.usecases.state.waiter import Waiter


class KeyFeed(Protocol):
    """The part of the link to control that keys use. Both return at once, and do nothing while it is down."""

    def follow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Ask about these keys, by their SHA-256, and models, in one message; and be notified of changes."""

    def unfollow_keys(self, keys: Sequence[bytes], models: Sequence[str]) -> None:
        """Be notified no longer."""


class Unfollowed(NamedTuple):
    """A key that a report of work brought, and the rate at which its reporter may have keys looked up."""

    key_sha256: bytes
    rate: LookUpRate


class Keys:
    """What a node knows of API keys and models."""

    def __init__(self, clock: Clock, settings: NodeSettings, feed: KeyFeed, accounts: FollowedAccounts) -> None:
        self._clock = clock
        self._accounts = accounts
        self._settings = settings
        self._feed = feed
        self._keys = FollowedTable[bytes, FollowedKey](settings.known_keys_max, settings.unknown_keys_max)
        self._models = FollowedTable[str, FollowedModel](settings.known_keys_max, settings.unknown_keys_max)
        self._ends = Ends[FollowedKey]()
        self.of_request: dict[Request, FollowedKey] = {}
        """Open requests that a key let in, as far as this node knows."""
        self.choosing: dict[Waiter, None] = {}
        """Reports without a service that wait for control's word on their key or model, in order of their arrival."""
        self.calls = LookUpRate(settings.key_look_ups_per_s)
        """What all unary calls together may have looked up."""
        self.calls_with_work = LookUpRate(settings.key_look_ups_per_s)
        """The same for what they report of work."""
        self.unfollowed: dict[Request, Unfollowed] = {}
        """Open requests whose key may not be looked up yet, which is to stop them when it ends."""

    # --- reports ---------------------------------------------------------------------------------------------------

    def find(self, sha256: bytes) -> FollowedKey | None:
        """A key that is followed; None where control is to be asked about it."""
        return self._keys.find(sha256, self._clock.monotonic_ns())

    def find_model(self, text: str) -> FollowedModel | None:
        """A model's name that is followed; None where control is to be asked about it."""
        return self._models.find(text, self._clock.monotonic_ns())

    def look_up(self, sha256: bytes, text: str, rate: LookUpRate | None) -> bool:
        """Ask control about a key, and a model unless `text` is empty, as far as they are not followed; in one message.

        False where that is too much for `rate`; None: it is not bounded.
        """
        now_ns = self._clock.monotonic_ns()
        key = None if self._keys.heard_of(sha256) is not None else FollowedKey(sha256, now_ns)
        model = None if not text or self._models.heard_of(text) is not None else FollowedModel(text, now_ns)
        asked = [item for item in (key, model) if item is not None]
        if rate is not None:
            if not rate.take(now_ns, len(asked)):
                return False
            for item in asked:
                item.rate = rate
        forgotten_keys = self._keys.add(key) if key is not None else []
        forgotten_models = self._models.add(model) if model is not None else []
        self._forget(forgotten_keys, forgotten_models)
        if key is not None or model is not None:
            self._feed.follow_keys([sha256] if key is not None else [], [text] if model is not None else [])
        return True

    # --- requests --------------------------------------------------------------------------------------------------

    def began(self, request: "Request", key: FollowedKey) -> None:
        """The key has let this request in."""
        if key.requests is None:
            key.requests = {}
        key.requests[request] = None
        self.of_request[request] = key

    def ended(self, request: "Request") -> None:
        """The request runs no longer."""
        self.unfollowed.pop(request, None)
        key = self.of_request.pop(request, None)
        if key is not None and key.requests is not None:
            del key.requests[request]
            if not key.requests:
                key.requests = None

    def key_of(self, request: "Request") -> FollowedKey | None:
        """The key that let an open request in, as far as this node knows."""
        return self.of_request.get(request)

    # --- the control service ---------------------------------------------------------------------------------------

    def begin_stream(self) -> tuple[list[bytes], list[str]]:
        """A new stream to control: the keys and models that are to be followed on it from its beginning."""
        return self._keys.begin_stream(), self._models.begin_stream()

    def take(self, key: ApiKey) -> FollowedKey | None:
        """Take in what control says of a key; None where that is not news."""
        followed = self._keys.heard_of(key.sha256)
        if followed is None or not followed.hear(key.version, is_known=key.state is not KeyState.UNKNOWN):
            return None
        is_first = followed.key is None
        self._follow_account(key.account)
        self._unfollow_account(followed)
        # The hash once: there may be many keys.
        followed.key, followed.has_expired = replace(key, sha256=followed.name), False
        if is_first:
            self._let_go_of_others(followed)
        ends = key.state is KeyState.VALID and key.valid_for_ns is not None
        self._ends.note(followed, self._clock.monotonic_ns() + (key.valid_for_ns or 0) if ends else None)
        self._forget(self._keys.settle(followed), [])
        return followed

    def _follow_account(self, account: str) -> None:
        if account:
            self._accounts.follow(account)

    def _unfollow_account(self, followed: FollowedKey) -> None:
        """What was known of a key counts no longer as followed of an account."""
        if followed.key is not None and followed.key.account:
            self._accounts.unfollow(followed.key.account, self._clock.monotonic_ns())

    def _let_go_of_others(self, followed: FollowedKey) -> None:
        """Requests that came with this key before it was known, and run by another one or by none, do not end by it."""
        for request in list(followed.requests or ()):
            if not followed.let_in(request):
                self.ended(request)

    def take_model(self, meaning: ModelMeaning) -> FollowedModel | None:
        """Take in what control says of a model's name; None where that is not news."""
        followed = self._models.heard_of(meaning.text)
        if followed is None or not followed.hear(meaning.version, is_known=bool(meaning.model)):
            return None
        followed.model = meaning.model
        self._forget([], self._models.settle(followed))
        return followed

    # --- the passing of time ---------------------------------------------------------------------------------------

    def take_expired(self) -> Iterator[FollowedKey]:
        """Keys whose time is over since this was asked last."""
        for key in self._ends.take_due(self._clock.monotonic_ns()):
            key.has_expired = True
            yield key

    def forget_idle(self) -> None:
        """Follow no longer what no report has brought for long."""
        now_ns, kept_ns = self._clock.monotonic_ns(), self._settings.idle_key_kept_ns
        self._forget(self._keys.forget_idle(now_ns, kept_ns), self._models.forget_idle(now_ns, kept_ns))

    def _forget(self, keys: Sequence[FollowedKey], models: Sequence[FollowedModel]) -> None:
        for key in keys:
            self._ends.note(key, None)
            self._unfollow_account(key)
        if keys or models:
            self._feed.unfollow_keys([key.name for key in keys], [model.name for model in models])
