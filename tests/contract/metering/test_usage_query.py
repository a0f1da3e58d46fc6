"""Usage over time: steps, groups, filters."""

import pytest

from metering_service.domain.counts import Counts
from metering_service.domain.errors import InvalidRequestError
from metering_service.storage import SqlRecorder, SqlUsageReader
from metering_service.usecases.ports import USAGE_ROWS_MAX, UsageRow
from tests.harness.metering.records import (
    MINUTE_US,
    NODE,
    NOON_US,
    SERVICE,
    batch,
    denial,
    rows,
    usage,
)

BATCH = "accounts/acme/services/batch"
STRANGER = "accounts/acme-2/services/chat"
LOUD = (("env", "prod"), ("team", "search"))
AWKWARD = (('$.a"b\\', "x"), ("0", "zero"))


@pytest.fixture(autouse=True)
async def books(recorder: SqlRecorder) -> None:
    """An hour in which three services, two credentials and some labels were busy now and then."""
    epoch = await recorder.register_node(NODE)
    await recorder.commit(
        NODE,
        epoch,
        batch(
            1,
            usage(0, 1),
            usage(0, 2, credential="key-2"),
            usage(4, 4, labels=LOUD),
            usage(5, 8, labels=(("team", "ads"),)),
            usage(59, 16, labels=AWKWARD),
            usage(60, 1_000),
            usage(5, 32, service=BATCH, uid="uid-batch"),
            usage(5, 5_000, service=STRANGER, uid="uid-stranger"),
            denial(5, 3),
            denial(5, 4, "ACCOUNT_OVERDUE"),
            denial(30, 5, credential="key-2"),
            denial(30, 6, service=BATCH),
        ),
    )


def outputs(found: list[UsageRow]) -> dict[tuple[int | str, ...], int]:
    """Output tokens by start, in minutes after noon, and group."""
    return {
        ((row.start_us - NOON_US) // MINUTE_US, *(value for _, value in row.group)): row.totals.usage.output
        for row in found
    }


async def test_without_a_step_there_is_one_over_the_whole_range(reader: SqlUsageReader) -> None:
    """Every sum of the range, and its denials by reason."""
    (row,) = await rows(reader)
    assert (row.start_us, row.end_us, row.group) == (NOON_US, NOON_US + 60 * MINUTE_US, ())
    assert row.totals.usage == Counts(input=62, output=31)
    assert (row.totals.trial_tokens, row.totals.billed_tokens) == (31, 62)
    assert (row.totals.cost_nanos, row.totals.request_count) == (31_000, 5)
    assert row.denials == (("ACCOUNT_OVERDUE", 4), ("BUDGET_CONTENDED", 8))


async def test_steps_without_anything_are_left_out(reader: SqlUsageReader) -> None:
    """Gaps stay gaps; a step with denials alone is there."""
    found = await rows(reader, step=5)
    assert outputs(found) == {(0,): 7, (5,): 8, (30,): 0, (55,): 16}
    assert found[2].denials == (("BUDGET_CONTENDED", 5),)
    assert all(row.end_us - row.start_us == 5 * MINUTE_US for row in found)


async def test_the_range_is_closed_at_its_start_and_open_at_its_end(reader: SqlUsageReader) -> None:
    """Exactly the minutes from the first to the one before the last."""
    assert outputs(await rows(reader, start=4, end=5)) == {(4,): 4}
    assert outputs(await rows(reader, start=5, end=59, step=1)) == {(5,): 8, (30,): 0}
    assert outputs(await rows(reader, start=59, end=61, step=1)) == {(59,): 16, (60,): 1_000}
    assert await rows(reader, start=61, end=90) == []


async def test_the_last_step_ends_with_the_range(reader: SqlUsageReader) -> None:
    """Steps count from the start of the range; what is left over at its end is a shorter one."""
    found = await rows(reader, start=3, step=25)
    assert [((row.start_us - NOON_US) // MINUTE_US, (row.end_us - NOON_US) // MINUTE_US) for row in found] == [
        (3, 28),
        (28, 53),
        (53, 60),
    ]


async def test_services_are_named_one_by_one_or_by_account(reader: SqlUsageReader) -> None:
    """An account is all of its services and nobody else's, also where another's name begins with its own."""
    assert outputs(await rows(reader, services=(SERVICE, BATCH))) == {(0,): 63}
    assert outputs(await rows(reader, services=("accounts/acme",))) == {(0,): 63}
    assert outputs(await rows(reader, services=("accounts/acme", SERVICE))) == {(0,): 63}
    assert outputs(await rows(reader, services=(BATCH, "accounts/acme-2"))) == {(0,): 5_032}
    assert await rows(reader, services=("accounts/acm",)) == []


async def test_usage_of_one_credential(reader: SqlUsageReader) -> None:
    """Usage and denials of that credential alone."""
    (row,) = await rows(reader, credential="key-2")
    assert (row.totals.usage.output, row.denials) == (2, (("BUDGET_CONTENDED", 5),))


async def test_usage_with_all_of_some_labels(reader: SqlUsageReader) -> None:
    """Each label must be there with that value; denials have none."""
    (row,) = await rows(reader, labels=(("team", "search"),))
    assert (row.totals.usage.output, row.denials) == (4, ())
    assert outputs(await rows(reader, labels=LOUD)) == {(0,): 4}
    assert await rows(reader, labels=(("env", "prod"), ("team", "ads"))) == []
    assert await rows(reader, labels=(("team", ""),)) == []


async def test_any_text_may_be_a_label(reader: SqlUsageReader) -> None:
    """Keys that look like paths or numbers mean themselves."""
    assert outputs(await rows(reader, labels=AWKWARD)) == {(0,): 16}
    by_key = await rows(reader, start=59, group_by=("label:0", 'label:$.a"b\\'))
    assert outputs(by_key) == {(59, "zero", "x"): 16}
    assert outputs(await rows(reader, start=59, group_by=("label:$",))) == {(59, ""): 16}


async def test_groups_by_service(reader: SqlUsageReader) -> None:
    """Ordered by step, then group; the group says its keys."""
    found = await rows(reader, services=("accounts/acme",), group_by=("service", "service_uid"), step=30)
    assert list(outputs(found).items()) == [
        ((0, BATCH, "uid-batch"), 32),
        ((0, SERVICE, "uid-chat"), 15),
        ((30, BATCH, "uid-chat"), 0),
        ((30, SERVICE, "uid-chat"), 16),
    ]
    assert found[0].group == (("service", BATCH), ("service_uid", "uid-batch"))


async def test_groups_by_credential_and_label(reader: SqlUsageReader) -> None:
    """Without that label the group is empty text, and denials are there."""
    found = await rows(reader, group_by=("label:team", "credential"))
    assert outputs(found) == {
        (0, "", "key-1"): 17,
        (0, "", "key-2"): 2,
        (0, "ads", "key-1"): 8,
        (0, "search", "key-1"): 4,
    }
    assert {row.group[0][1] for row in found if row.denials} == {""}


async def test_an_answer_that_would_not_fit_is_refused(recorder: SqlRecorder, reader: SqlUsageReader) -> None:
    """More buckets than a message holds are a mistake of the query, and said to be."""
    epoch = await recorder.register_node(NODE)
    half = range(USAGE_ROWS_MAX // 2)
    used = [usage(1, 1, credential=f"used {n}") for n in half]
    refused = [denial(1, 1, credential=f"refused {n}") for n in half]
    await recorder.commit(NODE, epoch, batch(1, *used, *refused))
    assert len(await rows(reader, end=2, start=1, group_by=("credential",))) == USAGE_ROWS_MAX
    await recorder.commit(NODE, epoch, batch(2, usage(1, 1, credential="one more")))
    with pytest.raises(InvalidRequestError, match="group_by"):
        await rows(reader, group_by=("credential",))
    assert len(await rows(reader)) == 1
