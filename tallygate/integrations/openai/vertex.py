"""Vertex AI's requests, as SGLang (0.5.23, `srt/entrypoints/http_server.py`) takes them: its own /generate in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.integrations.openai.request_json import BadRequestError

PARAMETERS = "parameters"
"""The field that has all of a request but its prompts."""
_INSTANCES = "instances"
_IMAGES = "image_data"
_PROMPTS = ("text", "input_ids", "input_embeds")
"""The fields of an instance that may be its prompt: the first that the first instance has is that of all."""


def unwrapped(content: Mapping[str, Any]) -> dict[str, Any]:
    """The request for /generate that a request stands for, with one prompt for each instance.

    Raises:
        BadRequestError: The server could take it for another one, or for none.
    """
    instances, parameters = content.get(_INSTANCES), content.get(PARAMETERS)
    if not isinstance(instances, list) or not instances or not all(isinstance(one, dict) for one in instances):
        raise BadRequestError(f"`{_INSTANCES}` is no list of objects, one for each prompt.", _INSTANCES)
    if not isinstance(parameters, dict | None):
        raise BadRequestError(f"`{PARAMETERS}` is no object.", PARAMETERS)
    parameters = parameters or {}
    for name in (*_PROMPTS, _IMAGES):
        if name in parameters:
            raise BadRequestError(f"`{name}` has to stand in `{_INSTANCES}`, not in `{PARAMETERS}`.", name)
    found = next((name for name in _PROMPTS if instances[0].get(name)), _PROMPTS[0])
    prompts = [one.get(found) for one in instances]
    if not all(_is_prompt(found, prompt) for prompt in prompts):
        raise BadRequestError(f"Each of `{_INSTANCES}` has to have one prompt, all of them as `{found}`.", found)
    images = [one[_IMAGES] for one in instances if one.get(_IMAGES) is not None]
    others = {_IMAGES: images} if images else {}
    # A model in the parameters would never reach the server.
    return {**parameters, found: prompts, **others, "model": content.get("model")}


def _is_prompt(name: str, value: object) -> bool:
    if name == "text":
        return isinstance(value, str)
    if not isinstance(value, list) or not value:
        return False
    return all(type(item) is int for item in value) if name == "input_ids" else all(isinstance(i, list) for i in value)
