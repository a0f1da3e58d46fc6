"""Tokens, bindings and members for tests."""

from collections.abc import Iterable
from dataclasses import dataclass

from control_service.domain.access_token import AccessToken
from control_service.domain.binding import Binding, Grant
from control_service.domain.token_seal import RANDOM_ID_BYTES, TokenSeal
from control_service.usecases.ports import Transaction
from tallygate._access.role import Role
from tallygate._access.scope import Scope
from tallygate._access.token_text import SECRET_BYTES, ShownToken, read_token, token_text

ISSUER = "https://issuer.example"
ALICE = f"person:{ISSUER}#alice"
STAFF = f"group:{ISSUER}#staff"
ROBOT = "serviceAccount:accounts/acme/serviceAccounts/robot"
ACME = Scope("acme")
SEARCH = Scope("acme", "search")
SEAL = TokenSeal(b"p" * 32)


@dataclass(frozen=True)
class Made:
    """A token that was just made, and its text."""

    token: AccessToken
    text: str

    @property
    def shown(self) -> ShownToken:
        shown = read_token(self.text)
        assert shown is not None
        return shown


def made_token(owner: str = ALICE, number: int = 1, seal: TokenSeal = SEAL, create_us: int = 0) -> Made:
    """A token, the same for each number."""
    token_id = seal.new_id(number.to_bytes(RANDOM_ID_BYTES, "big"))
    text = token_text(token_id, number.to_bytes(SECRET_BYTES, "big"))
    return Made(AccessToken(token_id, owner, "", seal.hash_of_text(text), create_us), text)


def with_secret(made: Made, number: int, overlap_us: int, now_us: int, seal: TokenSeal = SEAL) -> Made:
    """The token rotated: another secret, the one before valid for a while."""
    text = token_text(made.token.token_id, number.to_bytes(SECRET_BYTES, "big"))
    return Made(made.token.rotated(seal.hash_of_text(text), overlap_us, now_us), text)


def bound(
    member: str, role: Role, scope: Scope = ACME, binding_id: str = "", node_names: Iterable[str] = ()
) -> Binding:
    """A binding, whose id says what it is."""
    name = binding_id or f"{role.lower().replace('_', '-')}-{sum(member.encode())}"
    return Binding(name, Grant(scope, member, role, tuple(node_names)), "creator", 0)


async def store(tx: Transaction, *things: AccessToken | Binding) -> None:
    for thing in things:
        await (tx.access_tokens.add(thing) if isinstance(thing, AccessToken) else tx.bindings.add(thing))
