"""The journey of a limit on this node: known from the control service, found to apply, in the way of a request or not.

It begins with `known_limits.py`, which keeps what control says and works out what applies to a request.
"""
