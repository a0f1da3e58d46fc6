"""Metering for servers that exist already: `asgi` is middleware for servers that speak the OpenAI API."""
