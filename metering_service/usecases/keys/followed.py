"""What control is asked about by name and then notifies of, in two bounded tables: what there is, and what is not."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from metering_service.usecases.state.look_up_rate import LookUpRate
    from metering_service.usecases.state.service_state import ServiceState
    from metering_service.usecases.state.waiter import Waiter

VISITED_AT_ONCE: Final = 500
"""Maximum number of items that one round of housekeeping looks at, to find those that are idle."""

Name = TypeVar("Name", bytes, str)


class Followed(Generic[Name]):
    """One item: what was heard of it, and who waits for that."""

    __slots__ = ("is_confirmed", "is_known", "last_used_ns", "name", "rate", "services", "version", "waiters")

    def __init__(self, name: Name, now_ns: int) -> None:
        self.name: Name = name
        self.is_known: bool | None = None
        """Whether there is such a thing; None until control has answered."""
        self.version = 0
        self.is_confirmed = False
        """Whether control has spoken of it on the stream that is open."""
        self.last_used_ns = now_ns
        self.rate: LookUpRate | None = None
        """What its look-up was taken from, until control has answered."""
        self.services: dict[ServiceState, None] | None = None
        """Services on which reports wait for it; made when one does, as an empty one would take 64 bytes."""
        self.waiters: list[Waiter] | None = None
        """Reports that wait for it and have no service yet."""

    @property
    def is_used(self) -> bool:
        """Whether anything would be lost if it was forgotten."""
        return bool(self.services or self.waiters)

    def await_on(self, service: "ServiceState") -> None:
        """A report on that service waits for it."""
        if self.services is None:
            self.services = {}
        self.services[service] = None

    def await_by(self, waiter: "Waiter") -> None:
        """That report waits for it, and has no service yet."""
        if self.waiters is None:
            self.waiters = []
        self.waiters.append(waiter)

    def hear(self, version: int, *, is_known: bool) -> bool:
        """Control speaks of it; False where something later is known already."""
        if self.is_confirmed and version < self.version:
            return False
        self.version, self.is_known, self.is_confirmed = version, is_known, True
        if self.rate is not None:
            if is_known:
                self.rate.give_back()
            self.rate = None
        return True


Item = TypeVar("Item", bound=Followed)  # type: ignore[type-arg]  # of either kind of name


class FollowedTable(Generic[Name, Item]):
    """Items by name: those that there are in one table; in the other those that are not, or not answered for yet.

    So nobody who makes up names pushes out what others use.
    """

    def __init__(self, known_max: int, unknown_max: int) -> None:
        self._known_max = known_max
        self._unknown_max = unknown_max
        self._known: dict[Name, Item] = {}
        self._unknown: OrderedDict[Name, Item] = OrderedDict()
        self._round: deque[Item] = deque()
        """Those that there are, in the order in which they are looked at next."""

    def __len__(self) -> int:
        return len(self._known) + len(self._unknown)

    def find(self, name: Name, now_ns: int) -> Item | None:
        """The item of that name, which is used now; None where control is to be asked about it."""
        item = self._known.get(name)
        if item is None:
            item = self._unknown.get(name)
            if item is None:
                return None
            self._unknown.move_to_end(name)
        item.last_used_ns = now_ns
        return item

    def heard_of(self, name: Name) -> Item | None:
        """The item of that name, if it is followed."""
        return self._known.get(name) or self._unknown.get(name)

    def add(self, item: Item) -> list[Item]:
        """Follow one more; those that are forgotten for it."""
        self._unknown[item.name] = item
        return self._forget_unknown()

    def settle(self, item: Item) -> list[Item]:
        """Put it where it belongs by what control has said; those that are forgotten for it."""
        name = item.name
        if item.is_known:
            if self._unknown.pop(name, None) is not None:
                self._known[name] = item
                self._round.append(item)
        elif self._known.pop(name, None) is not None:
            self._unknown[name] = item
            return self._forget_unknown()
        return []

    def begin_stream(self) -> list[Name]:
        """A new stream to control: what is to be followed on it. What there was not is forgotten, unless awaited."""
        for name, item in list(self._unknown.items()):
            if item.is_known is not None and not item.is_used:
                del self._unknown[name]
        for item in self._items():
            item.is_confirmed = False
        return [item.name for item in self._items()]

    def forget_idle(self, now_ns: int, kept_ns: int) -> list[Item]:
        """Look at some, and forget those that nobody has used for long, or too many; which they were."""
        forgotten = []
        for _ in range(min(VISITED_AT_ONCE, len(self._round))):
            item = self._round.popleft()
            if self._known.get(item.name) is not item:
                continue
            is_idle = len(self._known) > self._known_max or now_ns - item.last_used_ns >= kept_ns
            if is_idle and not item.is_used:
                del self._known[item.name]
                forgotten.append(item)
            else:
                self._round.append(item)
        for item in list(islice(self._unknown.values(), VISITED_AT_ONCE)):
            if now_ns - item.last_used_ns < kept_ns:
                break
            if not item.is_used:
                del self._unknown[item.name]
                forgotten.append(item)
        return forgotten

    def _items(self) -> Iterator[Item]:
        yield from self._known.values()
        yield from self._unknown.values()

    def _forget_unknown(self) -> list[Item]:
        """Of too many the oldest, but those that are waited for have another turn: those are bounded by themselves."""
        forgotten = []
        for _ in range(2):
            if len(self._unknown) <= self._unknown_max:
                break
            name, item = self._unknown.popitem(last=False)
            if item.is_used:
                self._unknown[name] = item
            else:
                forgotten.append(item)
        return forgotten
