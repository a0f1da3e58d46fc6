"""Scales of charts."""

from __future__ import annotations

import re

import pytest

from tallygate.console.charts import Series, stacked


@pytest.mark.parametrize(
    ("highest", "scale"),
    [
        (0, ["0"]),
        (3, ["0", "1", "2", "3", "4"]),
        (11, ["0", "3", "6", "9", "12"]),
        (1_640_253, ["0", "500k", "1M", "1.5M", "2M"]),
        (10**12, ["0", "300G", "600G", "900G", "1.2T"]),
    ],
)
def test_a_scale_has_round_numbers(highest: int, scale: list[str]) -> None:
    """Its end is at or above the highest bar, and its quarters are whole."""
    chart = stacked([Series("Trial", "trial", [highest])], ["now"], "used")
    assert re.findall(r'text-anchor="end">([^<]+)<', chart) == scale
    assert f"Trial {highest:,}" in chart or not highest
