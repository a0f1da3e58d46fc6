"""What a node does with reports, leases and bookings."""
