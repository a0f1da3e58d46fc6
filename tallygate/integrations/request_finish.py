"""The finish of a metered request: the final usage goes to the client, and whatever is unusual into the log."""

from __future__ import annotations

import logging
from typing import Final

from tallygate.client import MeteredRequest, MeteringError
from tallygate.integrations.final_usage import Facts, derive_final_usage

_log = logging.getLogger("tallygate.integrations.asgi")
_USUAL: Final = frozenset({"it was stopped", "the client hung up"})


def finish_request(request: MeteredRequest, facts: Facts) -> None:
    """Finishes a request with the usage derived from how it ended; logs a line where that was not as it should be."""
    final = derive_final_usage(facts)
    try:
        request.finish(final.usage, estimated=final.estimated, want_receipt=False)
    except MeteringError:
        _log.exception("Request %s is not recorded: %s", request.request_id, final.usage)
        return
    if not final.remark:
        return
    denial = request.denial
    _log.log(
        logging.INFO if final.remark in _USUAL else logging.WARNING,
        "Request %s is recorded %s: %s%s",
        request.request_id,
        "by an estimate" if final.estimated else "as its server counted it",
        final.remark,
        "" if denial is None else f" ({denial.reason})",
    )
