#!/usr/bin/env bash
# vLLM 0.32.0: `usage` and the counters in /metrics count different things. A prompt with three choices is one prompt in
# usage and three in vllm:prompt_tokens. Beam search runs as many requests as it has steps and beams: its usage has the
# prompt once and the tokens of the answers that are returned, the counters have all that was run.
source "$(dirname "$0")/lib/vllm.sh"
tokens() { sed -n 's/.*"usage":{"prompt_tokens":\([0-9]*\),"total_tokens":[0-9]*,"completion_tokens":\([0-9]*\).*/\1 \2/p'; }
ask() { # body: sets said_in, said_out, ran_in, ran_out
  local in out
  in=$(counter prompt_tokens) out=$(counter generation_tokens)
  read -r said_in said_out <<<"$(post /v1/completions "$1" | tokens)"
  sleep 3 # the counters follow the answer
  ran_in=$(($(counter prompt_tokens) - in)) ran_out=$(($(counter generation_tokens) - out))
}
ask '{"model":"tiny","prompt":"the quick brown fox","max_tokens":4,"ignore_eos":true,"n":3}'
echo "three choices: usage $said_in/$said_out, counters $ran_in/$ran_out"
expect "prompts in the counters for one in usage" 3 "$((ran_in / said_in))"
expect "output tokens, counters less usage" 0 "$((ran_out - said_out))"
ask '{"model":"tiny","prompt":"the quick brown fox","max_tokens":4,"use_beam_search":true,"n":2}'
echo "beam search: usage $said_in/$said_out, counters $ran_in/$ran_out"
expect "the counters have more input than usage" yes "$([ "$ran_in" -gt "$((3 * said_in))" ] && echo yes || echo no)"
