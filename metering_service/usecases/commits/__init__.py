"""The journey of a booking into the metering database: gathered by the write buffer, committed by the one writer.

It begins with `write_buffer.py`, where decisions leave what they booked, and ends when `group_commit.py` has committed
it. The rule that lives here: nothing is called durable before it is committed, and all of a commit happens or none.
"""
