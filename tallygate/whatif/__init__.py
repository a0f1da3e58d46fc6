"""What a workload would have cost under other settings: the services' own code on a clock that nobody waits for."""
