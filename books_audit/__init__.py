"""The audit of the books: reads both databases, writes to neither, and says what does not add up.

A program of its own, because the books of both services are compared here, and neither knows the other's.
"""
