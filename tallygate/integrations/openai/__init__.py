"""The OpenAI API on the wire, as far as metering needs it; nothing in here knows ASGI or a client."""
