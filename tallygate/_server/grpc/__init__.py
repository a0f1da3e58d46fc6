"""A gRPC server as a good citizen: health, reflection, limits, errors that machines can read."""
