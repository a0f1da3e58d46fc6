"""The control database: the only place that knows SQL."""
