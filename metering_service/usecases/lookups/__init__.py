"""Reports that cannot be decided at once, and the database queries that they wait for.

It begins with `parked.py`, which decides again when something changed; `lookups.py` carries the queries out. The rules
that live here: an id that has finished is not used again (`id_reuse.py`), and a silent request is booked only when it
is known whether another node went on with it (`silent_requests.py`).
"""
