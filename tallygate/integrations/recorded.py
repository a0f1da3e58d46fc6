"""The end of a metered request: what is recorded of it, and what the log says of that."""

from __future__ import annotations

import logging
from typing import Final

from tallygate.client import MeteredRequest, MeteringError
from tallygate.integrations.verdict import Facts, judge

_log = logging.getLogger("tallygate.integrations.asgi")
_USUAL: Final = frozenset({"it was stopped", "the client hung up"})


def record(request: MeteredRequest, facts: Facts) -> None:
    """Finishes a request by how it ended. Whatever is not as it should be makes a line in the log."""
    verdict = judge(facts)
    try:
        request.finish(verdict.usage, estimated=verdict.estimated, want_receipt=False)
    except MeteringError:
        _log.exception("Request %s is not recorded: %s", request.request_id, verdict.usage)
        return
    if not verdict.remark:
        return
    denial = request.denial
    _log.log(
        logging.INFO if verdict.remark in _USUAL else logging.WARNING,
        "Request %s is recorded %s: %s%s",
        request.request_id,
        "by an estimate" if verdict.estimated else "as its server counted it",
        verdict.remark,
        "" if denial is None else f" ({denial.reason})",
    )
