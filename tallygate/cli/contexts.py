"""Contexts: where a pair is, how its servers are verified, and the token of whoever signed in there.

Two files in one directory, `$TALLYGATE_CONFIG_DIR`, or `tallygate` under `$XDG_CONFIG_HOME` or `~/.config`:
`contexts.json`, which may be shared, and `tokens.json`, which only its owner may read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from tallygate._proxies import is_this_machine
from tallygate._unreadable import why_unreadable

DIRECTORY_VARIABLE: Final = "TALLYGATE_CONFIG_DIR"
CONTEXT_VARIABLE: Final = "TALLYGATE_CONTEXT"
CONTROL_PORT: Final = "7401"
"""Port of control where nobody says another one."""
METERING_PORT: Final = "7402"
"""Port of a metering node where nobody says another one."""
_CONTEXTS_FILE: Final = "contexts.json"
_TOKENS_FILE: Final = "tokens.json"
_PRIVATE: Final = 0o600


class ContextError(ValueError):
    """A file of contexts cannot be used; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Context:
    """One pair. Addresses and files are empty where they are not known."""

    control: str = ""
    metering: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    @property
    def nodes(self) -> str:
        """Addresses of its metering nodes; where nobody said them, that of `tallygate up` if control is at its own."""
        host, _, port = self.control.rpartition(":")
        if not self.metering and port == CONTROL_PORT and "," not in host and is_this_machine(self.control):
            return f"{host}:{METERING_PORT}"
        return self.metering


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A token; `signed_in` says that it was given for a sign-in, and ends with the next log-out."""

    token: str = field(repr=False)
    signed_in: bool = False


@dataclass(frozen=True, slots=True)
class Contexts:
    """All contexts of a person, and which of them commands use."""

    current: str = ""
    by_name: Mapping[str, Context] = field(default_factory=dict)

    def with_context(self, name: str, context: Context) -> Contexts:
        """These, with one that is new or changed, which is the current one from now on."""
        return replace(self, current=name, by_name={**self.by_name, name: context})

    def without(self, name: str) -> Contexts:
        """These but one."""
        others = {one: context for one, context in self.by_name.items() if one != name}
        return replace(self, current="" if self.current == name else self.current, by_name=others)


class ContextStore:
    """The two files. Every method raises ContextError where a file cannot be read or written."""

    def __init__(self, directory: Path) -> None:
        self._contexts = directory / _CONTEXTS_FILE
        self._tokens = directory / _TOKENS_FILE

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> ContextStore:
        """The store of the person whose environment this is."""
        if directory := environment.get(DIRECTORY_VARIABLE):
            return cls(Path(directory))
        home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
        return cls(Path(home) / "tallygate")

    def read(self) -> Contexts:
        """All contexts; none where there is no file yet."""
        kept = _read(self._contexts)
        known = {one.name for one in fields(Context)}
        try:
            by_name = {
                str(name): Context(**{key: str(value) for key, value in given.items() if key in known})
                for name, given in kept.get("contexts", {}).items()
            }
            return Contexts(str(kept.get("current", "")), by_name)
        except (AttributeError, TypeError) as error:
            raise ContextError(f"{self._contexts} is no file of contexts; move it away, and log in again.") from error

    def write(self, contexts: Contexts) -> None:
        """Keep all contexts."""
        kept = {name: asdict(context) for name, context in sorted(contexts.by_name.items())}
        _write(self._contexts, {"current": contexts.current, "contexts": kept})

    def token(self, name: str) -> KeptToken | None:
        """The token of a context; None without one."""
        match _read(self._tokens).get(name):
            case {"token": str(text), "signed_in": bool(signed_in)}:
                return KeptToken(text, signed_in)
        return None

    def keep_token(self, name: str, token: KeptToken | None) -> None:
        """Keep the token of a context, or forget it."""
        tokens = {one: kept for one, kept in _read(self._tokens).items() if one != name}
        if token is not None:
            tokens[name] = asdict(token)
        if tokens or self._tokens.exists():
            _write(self._tokens, tokens)


def current_context(environment: Mapping[str, str]) -> tuple[str, Context]:
    """The context that commands use, with its name; an empty one where there is none.

    Raises:
        ContextError: the environment names one that there is not, or a file cannot be read.
    """
    contexts = ContextStore.of(environment).read()
    wanted = environment.get(CONTEXT_VARIABLE, "")
    name = wanted or contexts.current
    if wanted and wanted not in contexts.by_name:
        raise ContextError(
            f"{CONTEXT_VARIABLE} names the context {wanted}, and there is none; see `tallygate context list`."
        )
    return name, contexts.by_name.get(name, Context())


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ContextError(
            f"{path} cannot be read: {why_unreadable(error)}; mend it, or move it away and log in again."
        ) from error
    if not isinstance(kept, dict):
        raise ContextError(f"{path} is no file of tallygate's; move it away, and log in again.")
    return kept


def _write(path: Path, kept: Mapping[str, Any]) -> None:
    """Replace the file whole, readable by its owner only: whoever reads it meanwhile has the old one or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
        with os.fdopen(descriptor, "w") as file:
            json.dump(kept, file, indent=2)
        fresh.replace(path)
    except OSError as error:
        raise ContextError(f"{path} cannot be written: {error.strerror}; make its directory writable.") from error
