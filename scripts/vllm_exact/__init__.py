"""Real vLLM, metered, request by request: what is recorded is compared with what vLLM itself counted."""
