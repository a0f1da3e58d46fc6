"""The contract on the wire: decode, call, encode."""
