"""What both services need to be gRPC servers and to keep a database. Nothing of the domain."""
