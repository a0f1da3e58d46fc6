"""The kinds of requests that make a model run."""

from __future__ import annotations

from enum import Enum


class Shape(Enum):
    """The form of a request, by which its tokens are counted; the values are the kinds of TALLYGATE_ROUTES."""

    # Each is there once. By name, as enums are by themselves, each look at what is particular to one costs more.
    __hash__ = object.__hash__

    CHAT = "chat"
    CHAT_BATCH = "chat_batch"
    COMPLETION = "completion"
    RESPONSE = "response"
    EMBEDDING = "embedding"
    EMBED = "embed"
    """Cohere's embeddings."""
    POOLING = "pooling"
    CLASSIFY = "classify"
    SCORE = "score"
    GENERATIVE_SCORE = "generative_score"
    RERANK = "rerank"
    MESSAGES = "messages"
    """Anthropic's messages."""
    COHERE_CHAT = "cohere_chat"
    GENERATE = "generate"
    """SGLang's own."""
    TOKENS_GENERATE = "tokens_generate"
    """vLLM's own: token ids in, token ids out."""
    ENCODE = "encode"
    DECISION = "decision"
    INVOCATION = "invocation"
    """SageMaker's: any of the others, distinguished by the body."""
    VERTEX = "vertex"
    OLLAMA_CHAT = "ollama_chat"
    OLLAMA_GENERATE = "ollama_generate"
    TRANSCRIPTION = "transcription"
    TRANSLATION = "translation"
    REALTIME = "realtime"


INPUT_ONLY_SHAPES = frozenset(
    {
        Shape.EMBEDDING,
        Shape.EMBED,
        Shape.POOLING,
        Shape.CLASSIFY,
        Shape.SCORE,
        Shape.RERANK,
        Shape.ENCODE,
    }
)
"""Shapes of requests that make the model read and generate nothing."""
METERED_SHAPES = INPUT_ONLY_SHAPES | {
    Shape.CHAT,
    Shape.CHAT_BATCH,
    Shape.COMPLETION,
    Shape.RESPONSE,
    Shape.MESSAGES,
    Shape.GENERATE,
    Shape.TOKENS_GENERATE,
    Shape.GENERATIVE_SCORE,
    Shape.DECISION,
    Shape.INVOCATION,
    Shape.OLLAMA_CHAT,
    Shape.OLLAMA_GENERATE,
    Shape.VERTEX,
    Shape.COHERE_CHAT,
    Shape.TRANSCRIPTION,
    Shape.TRANSLATION,
}
"""Shapes whose requests and answers can be read. Routes of all others are refused."""
