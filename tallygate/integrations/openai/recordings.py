"""Estimates of a recording before a model reads it: its length, and the number of parts into which it may be cut."""

from __future__ import annotations

from struct import unpack_from

INPUT_TOKENS_PER_SECOND = 100
"""Number of input tokens, as vLLM (0.32) counts for Whisper: one for each frame of a spectrogram. Others count less."""
SECONDS_MAX = 600
"""Maximum length of a recording that vLLM (0.32) takes, unless configured otherwise."""

_USUAL_BYTES_PER_SECOND = 12_800
"""Rate of compressed sound, about 100 kbit/s."""
_LEAST_BYTES_PER_SECOND = 700
"""Minimum rate of compressed speech: Opus has hardly less."""
_PART_S = 29
"""Minimum length of all parts but the last: vLLM and SGLang cut what is longer than 30 s at a quiet moment."""
_PARTS_MAX = -(-SECONDS_MAX // _PART_S)
_WAVE = b"RIFF", b"WAVEfmt "
_WAVE_HEADER_BYTES = 36
_PLAIN_SAMPLES = frozenset({1, 3})
"""Formats of uncompressed samples: of whole numbers, and of fractions."""


def estimate_recording_tokens(data: memoryview) -> int:
    """Estimated number of input tokens of a recording, by its size; of uncompressed WAVE by its header."""
    rate = _wave_bytes_per_second(data) or _USUAL_BYTES_PER_SECOND
    return min(-(-len(data) * INPUT_TOKENS_PER_SECOND // rate), SECONDS_MAX * INPUT_TOKENS_PER_SECOND)


def count_parts_max(data: memoryview) -> int:
    """Maximum number of parts into which a server may cut a recording; it answers each by itself."""
    rate = _wave_bytes_per_second(data) or _LEAST_BYTES_PER_SECOND
    return max(1, min(_PARTS_MAX, -(-len(data) // (rate * _PART_S))))


def _wave_bytes_per_second(data: memoryview) -> int:
    """Of uncompressed WAVE, as servers read it; 0 of anything else."""
    if len(data) < _WAVE_HEADER_BYTES or (bytes(data[:4]), bytes(data[8:16])) != _WAVE:
        return 0
    kind, channels, samples_per_second = unpack_from("<HHI", data, 20)
    (bits,) = unpack_from("<H", data, 34)
    return int(samples_per_second * channels * bits // 8) if kind in _PLAIN_SAMPLES else 0
