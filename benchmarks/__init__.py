"""What Tallygate can do on this machine, next to what the transport can do on it in the same run."""
