"""API keys and models that reports have named: what control says of them, who waits for that, and what runs by them.

Nothing here reads a database: control is asked about a key once, and notifies of every change from then on.
"""
