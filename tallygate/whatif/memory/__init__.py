"""A control database in dictionaries: the ports of control's use cases, as far as a what-if calls them."""
