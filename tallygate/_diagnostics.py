"""Diagnostics on the wire: what a program says of itself, and the contract that it was built with."""

import hashlib
import importlib
import pkgutil
from functools import cache
from typing import Final

import tallygate.access.v1
import tallygate.control.v1
import tallygate.metering.v1
from tallygate._server.process.program_facts import ProgramFacts
from tallygate._wire.times import encode_timestamp
from tallygate.control.v1 import diagnostics_pb2

DIGITS: Final = 12
"""Number of digits of the contract's digest."""


def encode_diagnostics(facts: ProgramFacts) -> diagnostics_pb2.Diagnostics:
    """The message of these facts."""
    return diagnostics_pb2.Diagnostics(
        version=facts.version,
        build=facts.build,
        contract_digest=contract_digest(),
        now_time=encode_timestamp(facts.now_us),
        start_time=encode_timestamp(facts.start_us),
        database=facts.database,
        schema_revision=facts.schema_revision,
        database_problem=facts.database_problem,
        asks_for_proof=facts.asks_for_proof,
    )


@cache
def contract_digest() -> str:
    """Digest of all files of the contract, whichever of them this program uses."""
    digest = hashlib.sha256()
    for package in (tallygate.access.v1, tallygate.control.v1, tallygate.metering.v1):
        for module in sorted(
            each.name for each in pkgutil.iter_modules(package.__path__) if each.name.endswith("_pb2")
        ):
            digest.update(importlib.import_module(f"{package.__name__}.{module}").DESCRIPTOR.serialized_pb)
    return digest.hexdigest()[:DIGITS]
