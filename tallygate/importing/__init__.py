"""Keys, teams and budgets of other gateways, brought along: read, put into the terms of this project, and shown."""
