"""The control service as a node's credentials see it: it answers when a test says so."""

from collections import deque
from collections.abc import Sequence

from metering_service.domain.credential import Credential, CredentialConfig, CredentialState
from metering_service.domain.errors import MeteringError
from metering_service.usecases.access.credentials import Credentials
from metering_service.usecases.settings import NodeSettings
from tallygate._access.rights import NO_RIGHTS, Right, Rights
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._server.clock import ManualClock

SECOND_NS = 1_000_000_000


def meter_of(*account_ids: str) -> Rights:
    """What a caller may do that reports for these accounts."""
    return Rights(tuple(Right(Role.METER, Scope(account_id)) for account_id in account_ids))


def token(name: str) -> Credential:
    """A credential that stands for the token of this name."""
    return Credential(token_id=name, token_sha256=name.encode())


class CredentialControl:
    """What it knows of credentials, what it was asked, and the node's side of it."""

    def __init__(self, clock: ManualClock | None = None, settings: NodeSettings | None = None) -> None:
        self.clock = clock if clock is not None else ManualClock(monotonic_ns=SECOND_NS)
        self.known: dict[Credential, CredentialConfig] = {}
        self.followed: dict[Credential, None] = {}
        self.questions: list[list[Credential]] = []
        self.unanswered: deque[Credential] = deque()
        self.version = 1
        self.credentials = Credentials(self.clock, settings if settings is not None else NodeSettings(), self)
        self.connect()

    # --- the node's link -------------------------------------------------------------------------------------------

    def follow_credentials(self, credentials: Sequence[Credential]) -> None:
        self.questions.append(list(credentials))
        self.followed.update(dict.fromkeys(credentials))
        self.unanswered.extend(credentials)

    def unfollow_credentials(self, credentials: Sequence[Credential]) -> None:
        for credential in credentials:
            del self.followed[credential]

    # --- what a test does ------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """A new stream."""
        self.followed, self.unanswered = {}, deque()
        followed = self.credentials.begin_stream()
        self.followed.update(dict.fromkeys(followed))
        self.unanswered.extendleft(reversed(followed))

    def disconnect(self) -> None:
        """The stream breaks."""
        self.credentials.end_stream()

    def answer(self) -> None:
        """All that was asked so far, and nothing that is asked because of that."""
        for _ in range(len(self.unanswered)):
            self.tell(self.unanswered.popleft())

    def tell(self, credential: Credential) -> None:
        """What it knows of one that is followed."""
        self.credentials.hear()
        if credential in self.followed:
            nothing = CredentialConfig(credential, CredentialState.UNKNOWN, version=self.version)
            self.credentials.take(self.known.get(credential, nothing))

    def put(
        self,
        credential: Credential,
        rights: Rights = NO_RIGHTS,
        state: CredentialState = CredentialState.VALID,
        *,
        seconds: int | None = None,
    ) -> None:
        """A credential comes, or is another now; whoever follows it is told."""
        self.version += 1
        valid_for_ns = seconds * SECOND_NS if seconds is not None else None
        self.known[credential] = CredentialConfig(
            credential, state, "serviceAccount:one", rights, valid_for_ns, self.version
        )
        if credential in self.followed and credential not in self.unanswered:
            self.tell(credential)

    def pass_time(self, seconds: float, *, heard: bool = True) -> None:
        """In steps of a tenth of a second, in each of which the node keeps house; control goes on to speak, or not."""
        for _ in range(round(seconds * 10)):
            self.clock.advance(us=100_000)
            if heard:
                self.credentials.hear()
            self.credentials.keep_house()


class User:
    """A stream that remembers what became of it."""

    def __init__(self) -> None:
        self.rights: Rights | None = None
        self.error: MeteringError | None = None

    def rights_changed(self, rights: Rights) -> None:
        self.rights = rights

    def break_off(self, error: MeteringError) -> None:
        self.error = error
