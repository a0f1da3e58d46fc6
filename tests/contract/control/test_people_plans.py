"""What people do costs the same however many accounts there are: rows are found by indexes, on both databases."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from control_service.domain.status import Status
from control_service.usecases.people.service_list import ServiceQuery, list_services
from control_service.usecases.ports import ServiceFilter
from tests.harness.control.people_harness import Desk
from tests.harness.control.query_plans import recorded, whole_reads

OF_FEW_ROWS = {"meta"}
"""Tables of which it does not matter how they are read."""


def _of_many_rows(found: list[str]) -> list[str]:
    return [
        each
        for each in found
        if not any(
            f" on {name}" in each or each.startswith((f"SCAN {name}:", f"SCAN {name} USING")) for name in OF_FEW_ROWS
        )
    ]


@pytest.mark.parametrize(
    "wanted",
    [ServiceFilter(), ServiceFilter("acme"), ServiceFilter(model_id="llama"), ServiceFilter("acme", "llama")],
    ids=["all", "account", "model", "account-and-model"],
)
@pytest.mark.parametrize("status", [None, Status.ACTIVATING])
async def test_a_page_of_services_begins_in_an_index(
    desk: Desk, engine: AsyncEngine, planner: AsyncEngine, wanted: ServiceFilter, status: Status | None
) -> None:
    """The last page of a million services reads no more rows than the first."""
    await desk.create()
    query = ServiceQuery(wanted, status, (wanted.account_id or "aardvark", "b"), 10)
    with recorded(engine) as statements:
        async with desk.database.reading() as tx:
            await list_services(tx, query, desk.now_us)
    assert statements
    assert _of_many_rows(await whole_reads(planner, statements)) == []


async def test_changes_of_a_service_and_of_an_account_find_their_rows(
    desk: Desk, engine: AsyncEngine, planner: AsyncEngine
) -> None:
    """Creation, pay-as-you-go on a default service, money, and a look at the outcome."""
    await desk.publish_price()
    with recorded(engine) as statements:
        await desk.create()
        await desk.enable("default-llama")
        await desk.pay(1_000_000)
        await desk.show()
        await desk.suspend("default-llama")
    assert len(statements) > 10
    assert _of_many_rows(await whole_reads(planner, statements)) == []
