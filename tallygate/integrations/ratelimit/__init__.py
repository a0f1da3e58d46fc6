"""Rate-limit services for gateways that have a client of one: Envoy's protocol, and Kuadrant's."""
