"""What time alone brings about: due changes ten times a second (`sweeper.py`), deletion of what is old."""
