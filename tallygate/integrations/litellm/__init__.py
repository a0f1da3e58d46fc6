"""LiteLLM's proxy, metered by a callback: its calls pass the same middleware as requests to any other server."""
