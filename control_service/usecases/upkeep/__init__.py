"""Changes that time alone brings about: what is due (`sweeper.py`), and deletion of what is old (`retention.py`)."""
