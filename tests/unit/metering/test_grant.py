"""How large grants are."""

import pytest

from metering_service.domain.grant import GRANT_TOKENS_MAX, GRANT_TOKENS_MIN, is_past_half, output_target


@pytest.mark.parametrize(
    ("output_tokens", "free_tokens", "max_output_tokens", "ceiling_tokens", "target"),
    [
        (0, 1_000_000, None, 0, 1_024),
        (600, 1_000_000, None, 1_024, 2_400),
        (5_000, 1_000_000, None, 6_000, 20_000),
        (0, 800, None, 0, 100),
        (0, 80, None, 0, GRANT_TOKENS_MIN),
        (0, 0, None, 0, GRANT_TOKENS_MIN),
        (0, 1_000_000, 32_000, 0, 1_024),
        (0, 1_000_000, 40, 0, 40),
        (0, 1_000_000, 0, 0, 0),
        (30, 1_000_000, 40, 40, 40),
        (50, 1_000_000, 40, 40, 40),
        (10, 0, None, 500, 500),
    ],
)
def test_grants_are_large_while_much_is_free(
    output_tokens: int, free_tokens: int, max_output_tokens: int | None, ceiling_tokens: int, target: int
) -> None:
    """They go to four times what was generated, shrink with what is free, and never exceed the server's own limit."""
    assert output_target(output_tokens, free_tokens, max_output_tokens, ceiling_tokens=ceiling_tokens) == target


def test_a_request_that_reports_every_token_is_renewed_as_it_doubles() -> None:
    """Past half of a grant that much is free for, the next half is as long as all that was generated."""
    ceiling, renewals = output_target(0, 1 << 50, None, ceiling_tokens=0), 0
    for output_tokens in range(100_000):
        if is_past_half(output_tokens, ceiling):
            ceiling, renewals = output_target(output_tokens, 1 << 50, None, ceiling_tokens=ceiling), renewals + 1
    assert renewals == 8


def test_a_large_maximum_is_a_cap_and_not_the_hold() -> None:
    """Who may generate 32,000 and generates 40 does not starve the others."""
    assert output_target(0, 1 << 50, 32_000, ceiling_tokens=0) == GRANT_TOKENS_MAX


@pytest.mark.parametrize(("output_tokens", "past"), [(0, False), (50, False), (51, True), (100, True), (101, True)])
def test_past_half_of_the_ceiling_is_time_for_renewal(output_tokens: int, past: bool) -> None:
    """Half is not past half."""
    assert is_past_half(output_tokens, 100) is past


def test_an_empty_grant_is_never_past_half() -> None:
    """A request without output, as for embeddings, asks for nothing."""
    assert not is_past_half(0, 0)


def test_a_renewal_adds_the_least_even_where_little_is_free() -> None:
    """Past half of its ceiling a request is never told that this was all while payers have something."""
    assert output_target(21, 0, None, ceiling_tokens=40) == 40 + GRANT_TOKENS_MIN
    assert output_target(20, 0, None, ceiling_tokens=40) == 40
    assert output_target(21, 0, 45, ceiling_tokens=40) == 45
