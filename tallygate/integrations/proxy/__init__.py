"""A reverse proxy in front of servers that no middleware can be put into: the same metering, two ways to the server."""
