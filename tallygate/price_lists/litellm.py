"""Price maps of LiteLLM: a JSON object with an entry for each model, in units of currency per token."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tallygate.price_lists.entry import Entry, entry_of, moved

_KINDS: Final = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
}
_APART: Final = re.compile(
    r".*_(?:batches|priority|flex)|.*_per_query|.*multiplier.*|file_search.*|code_interpreter.*|.*dbu.*"
)
"""Keys of what is asked for apart: another service tier, a search, a region."""
_PRICES: Final = re.compile(r".*(?:cost|pricing|multiplier).*")
_NO_MODEL: Final = "sample_spec"
"""The entry that explains the others."""
_PER_MILLION: Final = 6


def read(path: Path) -> tuple[str, list[Entry]]:
    """What the file is called as a source of prices, and its entries.

    Raises ValueError where it is no price map, and OSError where it cannot be read.
    """
    content = path.read_bytes()
    try:
        # Numbers as they are written: a float of 9.5E-7 is another number.
        models = json.loads(content, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError) as error:
        message = f"{path} is no JSON: {error}"
        raise ValueError(message) from error
    if not isinstance(models, dict) or not all(isinstance(one, dict) for one in models.values()):
        message = f"{path} is no price map of LiteLLM: that is an object with an object for each model"
        raise ValueError(message)
    source = f"LiteLLM price map {path.name}, SHA-256 {hashlib.sha256(content).hexdigest()[:12]}"
    return source, [_entry(name, one) for name, one in models.items() if name != _NO_MODEL]


def _entry(name: str, model: Mapping[str, Any]) -> Entry:
    said = {key: value for key, value in model.items() if _PRICES.fullmatch(key) and value not in (None, 0, [], {})}
    apart = sorted(key for key in said if key not in _KINDS and _APART.fullmatch(key))
    others = sorted(said.keys() - _KINDS.keys() - set(apart))
    problems = [f"our prices cannot say {', '.join(others)}"] if others else []
    numbers = {kind: model[key] for key, kind in _KINDS.items() if isinstance(model.get(key), Decimal)}
    problems += [f"{key} is no number" for key in _KINDS if model.get(key) is not None and _KINDS[key] not in numbers]
    return entry_of(
        name, {kind: moved(amount, _PER_MILLION) for kind, amount in numbers.items()}, problems, tuple(apart)
    )
