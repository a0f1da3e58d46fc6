"""The rules of the product: pure, synchronous, without I/O."""
