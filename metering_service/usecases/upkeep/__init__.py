"""What nobody asks for and has to happen: settling what a crash left, noticing silent nodes, deleting what is old.

It begins with `crash_recovery.py`, which runs at the start of each epoch.
"""
