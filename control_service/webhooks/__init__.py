"""Webhooks: messages are signed and sent here, in the form of Standard Webhooks, and nowhere else.

`message.py` says what a message is like, `courier.py` takes it to its receiver. No protobuf and no SQL are known here.
"""
