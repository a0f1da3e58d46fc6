"""Price lists of others, read for `tallygate model import`: what they say that a price of ours can say, exactly."""
