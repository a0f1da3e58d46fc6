"""The `usage` object of OpenAI's answers, and what may stand in it."""


def chat(prompt: object, completion: object, total: object = None, **more: object) -> dict[str, object]:
    said = {} if total is None else {"total_tokens": total}
    return {"prompt_tokens": prompt, "completion_tokens": completion, **said, **more}


def thought(tokens: object) -> dict[str, object]:
    return {"completion_tokens_details": {"reasoning_tokens": tokens}}


def cached(tokens: object, **more: object) -> dict[str, object]:
    return {"prompt_tokens_details": {"cached_tokens": tokens, **more}}
