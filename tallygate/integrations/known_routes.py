"""The routes of known servers: those that make the model run, those that are free, and those that are refused.

Taken from vLLM 0.32.0 and SGLang 0.5.23. A segment `{name}` stands for any one segment. What stands here for GET holds
for HEAD as well. Any other GET, HEAD or OPTIONS passes; any other method to a path that is not here is refused.
"""

from __future__ import annotations

from tallygate.integrations.shapes import Shape

METERED: tuple[tuple[str, str, Shape], ...] = (
    ("POST", "/v1/chat/completions", Shape.CHAT),
    ("POST", "/v1/chat/completions/batch", Shape.CHAT_BATCH),
    ("POST", "/v1/completions", Shape.COMPLETION),
    ("POST", "/v1/responses", Shape.RESPONSE),
    ("POST", "/v1/messages", Shape.MESSAGES),
    ("POST", "/cohere/v2/chat", Shape.COHERE_CHAT),
    ("POST", "/v1/embeddings", Shape.EMBEDDING),
    ("POST", "/v2/embed", Shape.EMBED),
    ("POST", "/pooling", Shape.POOLING),
    ("POST PUT", "/classify", Shape.CLASSIFY),
    ("POST", "/v1/classify", Shape.CLASSIFY),
    ("POST", "/score", Shape.SCORE),
    ("POST", "/v1/score", Shape.SCORE),
    ("POST", "/generative_scoring", Shape.GENERATIVE_SCORE),
    ("POST", "/rerank", Shape.RERANK),
    ("POST PUT", "/v1/rerank", Shape.RERANK),
    ("POST", "/v2/rerank", Shape.RERANK),
    ("POST", "/inference/v1/generate", Shape.TOKENS_GENERATE),
    ("POST PUT", "/generate", Shape.GENERATE),
    ("POST PUT", "/encode", Shape.ENCODE),
    ("POST", "/v1/decisions", Shape.DECISION),
    ("POST", "/v1/systemone", Shape.DECISION),
    ("POST", "/invocations", Shape.INVOCATION),
    ("POST", "/vertex_generate", Shape.VERTEX),
    ("POST", "/api/chat", Shape.OLLAMA_CHAT),
    ("POST", "/api/generate", Shape.OLLAMA_GENERATE),
    ("POST", "/v1/audio/transcriptions", Shape.TRANSCRIPTION),
    ("POST", "/v1/audio/translations", Shape.TRANSLATION),
    ("WEBSOCKET", "/v1/realtime", Shape.REALTIME),
)

FREE: tuple[tuple[str, str], ...] = (
    ("POST", "/ping"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("POST", "/v1/tokenize"),
    ("POST", "/v1/detokenize"),
    ("POST", "/v1/messages/count_tokens"),
    # These fill in a template or take an answer apart, and run no model.
    ("POST", "/v1/chat/completions/render"),
    ("POST", "/v1/completions/render"),
    ("POST", "/v1/responses/render"),
    ("POST", "/v1/messages/render"),
    ("POST", "/cohere/v2/chat/render"),
    ("POST", "/v1/chat/completions/derender"),
    ("POST", "/v1/completions/derender"),
    ("POST", "/parse_function_call"),
    ("POST", "/separate_reasoning"),
    ("POST", "/api/show"),
)
"""Besides everything that is only read, such as /health, /metrics, /version, /load and /v1/models."""

REFUSED: tuple[tuple[str, str], ...] = (
    # A stored answer is its owner's, and nobody here knows whose it is.
    ("GET DELETE", "/v1/responses/{id}"),
    ("POST", "/v1/responses/{id}/cancel"),
    ("GET DELETE", "/v1/chat/completions/{id}"),
    ("GET DELETE", "/v1/conversations/{id}"),
    ("GET", "/v1/responses/{id}/input_items"),
    # SGLang generates a token for it, each time that it is asked.
    ("GET", "/health_generate"),
    # Of the operator, and of nobody who has a key: SGLang takes them by GET as well.
    ("GET POST", "/flush_cache"),
    ("GET POST", "/start_profile"),
    ("GET POST", "/stop_profile"),
    ("GET POST", "/set_trace_level"),
    ("GET POST", "/freeze_gc"),
    ("GET POST", "/start_expert_distribution_record"),
    ("GET POST", "/stop_expert_distribution_record"),
    ("GET POST", "/dump_expert_distribution_record"),
    ("GET POST", "/get_weights_by_name"),
    ("GET POST", "/release_memory_occupation"),
    ("GET POST", "/resume_memory_occupation"),
    ("GET POST", "/weights_checker"),
    ("GET POST", "/slow_down"),
    ("GET POST", "/open_session"),
    ("GET POST", "/close_session"),
    ("GET POST", "/configure_logging"),
)
"""Besides whatever is not known at all, such as /sleep, /reset_prefix_cache or /v1/load_lora_adapter."""
