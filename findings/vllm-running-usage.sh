#!/usr/bin/env bash
# vLLM 0.32.0: `stream_options.continuous_usage_stats` without `include_usage` is accepted and does nothing. With both, each
# chunk has usage, but only the last one says how much of the prompt came from the cache.
source "$(dirname "$0")/lib/vllm.sh"
prompt=$(printf 'the quick brown fox jumps over the lazy dog %.0s' $(seq 20))
body="{\"model\":\"tiny\",\"prompt\":\"$prompt\",\"max_tokens\":3,\"ignore_eos\":true,\"stream\":true"
post /v1/completions "$body}" >/dev/null # fills the cache
alone=$(post /v1/completions "$body,\"stream_options\":{\"continuous_usage_stats\":true}}" | grep -c '"usage":{' || true)
both=$(post /v1/completions "$body,\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}")
expect "continuous_usage_stats alone: chunks with usage" 0 "$alone"
expect "with include_usage: chunks with usage" 4 "$(echo "$both" | grep -c '"usage":{')"
expect "of these, with cached tokens" 1 "$(echo "$both" | grep -c '"cached_tokens":[1-9]')"
