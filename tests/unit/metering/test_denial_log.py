"""The denials that a node remembers."""

from metering_service.domain.decision import Reason, deny
from metering_service.domain.denial_log import Denial, DenialLog

CHAT, BATCH = "accounts/acme/services/chat", "accounts/acme/services/batch"
STRANGER = "accounts/acme-2/services/chat"


def denial(request_id: str, at_us: int, service: str = CHAT) -> Denial:
    """A denial at this time."""
    return Denial(service, "", "", at_us, deny(request_id, Reason.SUSPENDED))


def ids(log: DenialLog, request_id: str, prefix: str = "accounts/acme/services/") -> list[int]:
    """The times of the denials that are remembered of a request."""
    return [found.at_us for found in log.find(prefix, request_id)]


def test_a_request_is_found_on_all_services_of_its_account() -> None:
    """And on no other account's, though its name begins alike."""
    log = DenialLog(0)
    for at_us, service in enumerate((CHAT, BATCH, STRANGER, CHAT), 1):
        log.note(denial("r", at_us, service))
    log.note(denial("other", 9))
    assert sorted(ids(log, "r")) == [1, 2, 4]
    assert ids(log, "r", "accounts/acme-2/services/") == [3]
    assert ids(log, "r", CHAT) == [1, 4]
    assert ids(log, "none") == []


def test_of_a_service_the_newest_are_kept() -> None:
    """Exactly so many; from when on is told, and another service loses none."""
    log = DenialLog(5, of_service_max=3)
    log.note(denial("r", 10, BATCH))
    for at_us in (11, 12, 13):
        log.note(denial("r", at_us))
    assert (sorted(ids(log, "r")), log.known_since_us) == ([10, 11, 12, 13], 5)
    log.note(denial("r", 14))
    assert (sorted(ids(log, "r")), log.known_since_us) == ([10, 12, 13, 14], 11)


def test_of_too_many_in_all_the_quietest_service_loses_first() -> None:
    """However many services are denied, what is remembered is bounded."""
    log = DenialLog(0, in_all_max=4)
    for at_us in (1, 2):
        log.note(denial("r", at_us, BATCH))
    for at_us in (3, 4, 5):
        log.note(denial("r", at_us))
    assert (sorted(ids(log, "r")), log.known_since_us) == ([2, 3, 4, 5], 1)
    for at_us in (6, 7):
        log.note(denial("r", at_us, STRANGER))
    assert sorted(ids(log, "r")) + ids(log, "r", "accounts/acme-2/") == [4, 5, 6, 7]
