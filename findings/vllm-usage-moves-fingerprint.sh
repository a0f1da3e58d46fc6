#!/usr/bin/env bash
# vLLM 0.32.0: `stream_options.include_usage` changes a chunk that has no usage. Without it, the last chunk with a choice
# says `system_fingerprint`; with it, only the chunk with usage does. Whoever asks for usage on a client's behalf, and hides
# that chunk, takes the fingerprint away.
source "$(dirname "$0")/lib/vllm.sh"
body='{"model":"tiny","prompt":"the quick brown fox","max_tokens":3,"ignore_eos":true,"stream":true'
without=$(post /v1/completions "$body}" | grep system_fingerprint | grep -c '"finish_reason":"length"' || true)
asked=$(post /v1/completions "$body,\"stream_options\":{\"include_usage\":true}}")
with=$(echo "$asked" | grep system_fingerprint | grep -c '"finish_reason":"length"' || true)
in_usage=$(echo "$asked" | grep system_fingerprint | grep -c '"choices":\[\],"usage"' || true)
expect "without usage: last chunks with a choice and a fingerprint" 1 "$without"
expect "with usage: last chunks with a choice and a fingerprint" 0 "$with"
expect "with usage: chunks with usage and a fingerprint" 1 "$in_usage"
