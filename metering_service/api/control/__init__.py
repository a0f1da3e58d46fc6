"""The link to the control service: its replicas, the two conversations with it, and their messages."""
