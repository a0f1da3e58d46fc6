"""How many reports wait at a node, of which accounts and on which streams: none of them fills the node by itself.

While control is away, every report on a service that this node does not know waits. Whoever may speak of an account can
make up services of it in any number. So what waits is bounded for each account, well below the bound of the node. A
stream whose caller may speak of every account can make those up, too; so each stream has the same bound.
"""

from metering_service.usecases.settings import NodeSettings
from metering_service.usecases.state.waiter import Reporter
from tallygate._server.metrics.histogram import Histogram


def account_of(service: str) -> str:
    """The account in a service's name; empty where there is none."""
    return service.partition("/")[2].partition("/")[0]


class WaitingRoom:
    """Counts of reports that wait."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._by_account: dict[str, int] = {}
        self._by_stream: dict[Reporter, int] = {}
        self.count = 0
        self.waits = Histogram()
        """How long those waited that were answered."""
        self.full_accounts: set[str] = set()
        """Those of which no more finishes and progress are taken in."""

    def enter(self, service: str, reporter: Reporter) -> None:
        """One more report on that service waits."""
        account = account_of(service)
        count = self._by_account[account] = self._by_account.get(account, 0) + 1
        if count >= self._settings.account_unread_beyond:
            self.full_accounts.add(account)
        self._by_stream[reporter] = self._by_stream.get(reporter, 0) + 1
        self.count += 1

    def leave(self, service: str, reporter: Reporter) -> None:
        """One of them waits no longer."""
        account = account_of(service)
        count = self._by_account[account] = self._by_account[account] - 1
        if count < self._settings.account_unread_beyond:
            self.full_accounts.discard(account)
        if not count:
            del self._by_account[account]
        self._by_stream[reporter] -= 1
        if not self._by_stream[reporter]:
            del self._by_stream[reporter]
        self.count -= 1

    def may_begin(self, service: str, reporter: Reporter) -> bool:
        """Whether an authorisation may still wait, should it have to: fewer may than reports of work."""
        settings = self._settings
        return not self.count or (
            self.count < settings.waiting_max
            and self._by_account.get(account_of(service), 0) < settings.account_waiting_max
            and self._by_stream.get(reporter, 0) < settings.account_waiting_max
        )

    @property
    def is_full(self) -> bool:
        """Whether too much waits for anything to be taken in."""
        return self.count >= self._settings.unread_beyond

    def is_full_of(self, service: str) -> bool:
        """Whether too much waits for more on services of this one's account to be taken in."""
        return bool(self.full_accounts) and account_of(service) in self.full_accounts

    def is_full_from(self, stream: Reporter) -> bool:
        """Whether too much of what one stream said waits for it to be read on."""
        return self._by_stream.get(stream, 0) >= self._settings.account_unread_beyond
