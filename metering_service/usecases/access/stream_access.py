"""The services that one stream may speak of: decided where it names one first, and remembered with the stream."""

from collections.abc import Iterator

from tallygate._access.permission import Permission
from tallygate._access.rights import Rights, Sight
from tallygate._access.scope import scope_of_resource

REMEMBERED_MAX = 65_536
"""Maximum number of services that one stream remembers; beyond that it is decided on each anew."""

Teams = frozenset[str] | None
"""Ids of the teams whose services a stream may speak of, in one account; None for all services of the account."""


class StreamAccess:
    """What the caller of one stream may report on."""

    def __init__(self, rights: Rights) -> None:
        self._sight: Sight = rights.sight(Permission.METER)
        self._teams: dict[str, Teams] = {}
        """Of the services that were named: decided already."""

    def teams(self, service: str) -> Teams:
        """To which teams' services the stream is limited in the account of the one named; empty: to none at all."""
        if service in self._teams:
            return self._teams[service]
        teams = self._sight.teams_of(scope_of_resource(service).account_id)
        if len(self._teams) >= REMEMBERED_MAX:
            self._teams.clear()
        self._teams[service] = teams
        return teams

    @property
    def named(self) -> Iterator[str]:
        """Services that it was let speak of, as far as it remembers."""
        return (service for service, teams in self._teams.items() if teams is None or teams)

    @property
    def is_empty(self) -> bool:
        """Whether it may report on nothing at all."""
        sight = self._sight
        return not (sight.everywhere or sight.account_ids or sight.teams)

    def loses(self, after: "StreamAccess", service: str, team: str | None) -> bool:
        """Whether a service could be spoken of and cannot `after`; or may be one, while its `team` is not known."""
        teams_before, teams = self.teams(service), after.teams(service)
        if teams is None:
            return False
        if team is None:
            return teams_before is None or not teams_before <= teams
        return (teams_before is None or team in teams_before) and team not in teams
