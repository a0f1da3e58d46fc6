"""The settings of a node: times in nanoseconds of the monotonic clock, sizes in items."""

from dataclasses import dataclass
from typing import Final

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Defaults are the product's; tests make them small."""

    wait_max_ns: int = 100 * MS
    """An authorisation or progress report waits so long for a lease..."""
    answer_wait_max_ns: int = 900 * MS
    """... and so much longer while the control service answers: its word is right where a guess may be wrong."""
    booking_wait_max_ns: int = 5 * SECOND
    """A finish with tokens beyond its hold waits at most so long for payers before they become debt or unfunded."""
    resume_window_ns: int = 30 * SECOND
    """A request that no stream speaks of stays open for so long."""
    lost_after_ns: int = 22 * SECOND
    """A node whose exchanges ceased so long ago is named lost by control, if no other node has noticed before."""
    predecessor_slack_ns: int = 10 * SECOND
    predecessor_waits_max: int = 2_000
    """Reports that wait for the end of another node's part; beyond that the oldest is booked by itself."""
    outage_grant_ns: int = 10 * SECOND
    """Cut off from control, a grant holds so long after the last commit, before which nobody had taken this node over.

    Well below the resume window: a node that takes over waits that long before what was held for a grant is free.
    """
    reserve_kept_ns: int = 60 * SECOND
    """A service that no report names for so long needs no reserve for an outage."""
    finished_kept_ns: int = 60 * SECOND
    finished_kept_max: int = 20_000
    """Finished requests are remembered in memory for repeats; beyond that the database is asked."""
    id_retention_us: int = 7 * 86_400 * 1_000_000
    """Age beyond which a report is too old to be recognised; booked requests and closed leases are deleted after it."""
    backlog_max: int = 50_000
    """Booked requests that wait for their commit; beyond that nothing new is authorised."""
    waiting_max: int = 20_000
    """Reports that wait at once; beyond that the node is overloaded: nothing new may begin..."""
    unread_beyond: int = 40_000
    """... and beyond this no stream is read on, so that what was done already waits where it is, with its server."""
    account_waiting_max: int = 5_000
    """Reports that wait of one account, and on one stream; beyond that nothing of it may begin..."""
    account_unread_beyond: int = 10_000
    """... and beyond this no stream is read on that speaks of that account, nor that stream. Others go on."""
    new_ids_max: int = 20_000
    """Ids that wait to be looked up; beyond that they are not."""
    idle_service_kept_ns: int = 600 * SECOND
    """A service that no report names for so long is forgotten, once all of its leases are closed."""
    idle_limits_kept_ns: int = 60 * SECOND
    """Limits of an account of which nothing is followed for so long are forgotten, once their leases are closed."""
    unknown_services_max: int = 10_000
    """Names that stand for no service, remembered so that control is not asked again for each report."""
    credential_wait_max_ns: int = 2 * SECOND
    """A caller with a credential that this node does not know waits so long for control's word on it."""
    credential_unheard_max_ns: int = 60 * SECOND
    """A credential that is known lets in for so long after this node last heard from control."""
    credential_answer_max_ns: int = 5 * SECOND
    """Control's word on a credential is waited for no longer: others are asked about in its stead."""
    credentials_asked_max: int = 256
    """Credentials that control is asked about at once; the next ones are taken from all peers in turn."""
    wrong_credentials_per_s: int = 20
    """Credentials of one peer that control may say open nothing; beyond it, control is asked about no more of them."""
    invalid_credentials_max: int = 10_000
    """Credentials that open nothing, or that control has not answered for, of all peers together."""
    valid_credentials_max: int = 100_000
    """Credentials that open something; beyond that those that no stream uses are forgotten."""
    idle_credential_kept_ns: int = 600 * SECOND
    """A credential that nobody shows for so long, and no stream uses, is forgotten."""
    key_look_ups_per_s: int = 50
    """Keys and models that nobody has, of which one stream has so many looked up; beyond that it is refused for now."""
    known_keys_max: int = 100_000
    """API keys that there are, and models' names; beyond that those that nobody uses are forgotten."""
    unknown_keys_max: int = 10_000
    """API keys and models' names that there are not, or that control has not answered for; of each so many."""
    idle_key_kept_ns: int = 600 * SECOND
    """An API key or model's name that no report brings for so long is forgotten."""
    checkpoint_interval_ns: int = 100 * MS
    """Interval of checkpoints, or more where they take long (see `GroupCommitter`)."""

    @property
    def predecessor_wait_max_ns(self) -> int:
        """Maximum wait of a finish for the end of another node's part; by then what a lost node left is booked."""
        return self.lost_after_ns + self.resume_window_ns + self.predecessor_slack_ns
