"""Prices of a list, imported into the real pair."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness.programs.command import up

PLAIN = {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07}


def test_prices_of_a_list_are_published_as_they_are(tmp_path: Path) -> None:
    """First only shown; then once, with their source, and again when the list has others."""
    prices = tmp_path / "prices.json"
    prices.write_text(
        json.dumps({"some/Mini": PLAIN, "some/tiered": PLAIN | {"tiered_pricing": [{}]}, "x/euro": PLAIN})
    )
    with up(tmp_path / "data") as running:
        running.tallygate("model", "create", "euro", "--currency", "EUR")
        command = ("model", "import", str(prices), "some/*", "x/euro")
        shown = running.tallygate(*command)
        assert (shown.status, "Nothing was changed" in shown.err) == (0, True), shown.err
        assert "models/mini" not in running.tallygate("model", "list").out
        done = running.tallygate(*command, "--apply")
        assert done.status == 0, done.err
        assert "some/tiered: our prices cannot say tiered_pricing" in done.err
        assert "x/euro: models/euro has its prices in EUR, the list in USD" in done.err
        mini = running.tallygate("model", "show", "mini", "--json").json["current_price"]
        assert (mini["input_nanos_per_million_tokens"], mini["source"][:32]) == (
            "150000000",
            "LiteLLM price map prices.json, S",
        )
        assert "nothing: in force already" in running.tallygate(*command, "--apply").out
        prices.write_text(json.dumps({"some/Mini": PLAIN | {"cache_read_input_token_cost": 1e-8}}))
        assert running.tallygate("model", "import", str(prices), "some/Mini", "--apply").status == 0
        assert len(running.tallygate("model", "prices", "mini", "--json").json["prices"]) == 2
        from_package = running.tallygate("model", "import", "genai-prices", "openai/gpt-4o=four", "--apply")
        assert from_package.status == 0, from_package.err
        assert "genai-prices 0.2." in running.tallygate("model", "prices", "four").out
        assert "is it openai/gpt-4o?" in running.tallygate("model", "import", "genai-prices", "openia/gpt-4o").err
