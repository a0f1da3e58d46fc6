"""The journey of a limit: an owner, a team's lead or an operator sets it, changes it and ends it.

How nodes learn of limits is part of the fleet's journey.
"""
