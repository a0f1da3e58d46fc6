"""Price maps of LiteLLM: exact amounts, and what of an entry no price of ours can say."""

import json
from pathlib import Path

import pytest

from tallygate.price_lists import litellm
from tallygate.price_lists.entry import Entry


def entries(folder: Path, **models: object) -> dict[str, Entry]:
    """The entries of a map; amounts are given as they are written in the file."""
    file = folder / "prices.json"
    file.write_text(json.dumps(models).replace('"<', "").replace('>"', ""))
    source, found = litellm.read(file)
    assert source.startswith("LiteLLM price map prices.json, SHA-256 ")
    return {one.name: one for one in found}


def test_amounts_are_taken_as_they_are_written(tmp_path: Path) -> None:
    """Not by way of a float; and what is no whole number of nanos is refused, never rounded."""
    amounts = {"input_cost_per_token": "<1.6e-07>", "output_cost_per_token": "<0.00000123456789>"}
    found = entries(
        tmp_path,
        plain=amounts,
        cached=amounts | {"cache_read_input_token_cost": "<1E-8>", "output_cost_per_reasoning_token": "<2e-6>"},
        noisy=amounts | {"input_cost_per_token": "<9.499999999999999E-7>"},
        long=amounts | {"input_cost_per_token": f"<0.000001{'0' * 40}1>"},
        huge=amounts | {"input_cost_per_token": "<1e999999>"},
        sample_spec=amounts,
    )
    assert found["plain"].price == (160_000_000, 160_000_000, 160_000_000, 1_234_567_890, 1_234_567_890)
    assert found["cached"].price == (160_000_000, 10_000_000, 160_000_000, 1_234_567_890, 2_000_000_000)
    assert found["noisy"].problem == "input at 0.9499999999999999 per million is no whole number of nanos"
    assert "no whole number of nanos" in found["long"].problem
    assert "out of range" in found["huge"].problem
    assert set(found) == {"plain", "cached", "noisy", "long", "huge"}


@pytest.mark.parametrize(
    ("more", "problem", "left_out"),
    [
        (
            {"input_cost_per_token_above_200k_tokens": 1},
            "our prices cannot say input_cost_per_token_above_200k_tokens",
            (),
        ),
        ({"tiered_pricing": [{}]}, "our prices cannot say tiered_pricing", ()),
        ({"output_cost_per_second": 0.1}, "our prices cannot say output_cost_per_second", ()),
        ({"input_cost_per_audio_token": 0.1}, "our prices cannot say input_cost_per_audio_token", ()),
        ({"input_cost_per_token": None}, "there is no price for input", ()),
        ({"input_cost_per_token": "free"}, "input_cost_per_token is no number; there is no price for input", ()),
        ({"input_cost_per_token": -1}, "input at -1E+6 is out of range", ()),
        ({"input_cost_per_token": 0, "output_cost_per_token": 0}, "it costs nothing", ()),
        ({"input_cost_per_token_batches": 0.1, "max_tokens": 9}, "", ("input_cost_per_token_batches",)),
        ({"search_context_cost_per_query": {"x": 1}}, "", ("search_context_cost_per_query",)),
        ({"input_cost_per_image": 0}, "", ()),
    ],
)
def test_what_no_price_says(tmp_path: Path, more: dict[str, object], problem: str, left_out: tuple[str, ...]) -> None:
    """Other terms for the same tokens are a problem; what is asked for apart is left out, and said."""
    plain = {"input_cost_per_token": 0.000001, "output_cost_per_token": 0.000002}
    (entry,) = entries(tmp_path, one=plain | more).values()
    assert entry.problem.startswith(problem)
    assert bool(entry.problem) is bool(problem)
    assert entry.left_out == left_out


@pytest.mark.parametrize("content", ["", "[]", '{"model": 1}', "{", "\xff"])
def test_what_is_no_price_map_is_refused(tmp_path: Path, content: str) -> None:
    """In one sentence."""
    file = tmp_path / "prices.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match=r"prices\.json is no"):
        litellm.read(file)
