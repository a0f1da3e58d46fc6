"""Who callers are: credentials that were shown to this node, what control says of them, and what streams may speak of.

Nothing here reads a database: control is asked about a credential once, and notifies of every change from then on.
"""
