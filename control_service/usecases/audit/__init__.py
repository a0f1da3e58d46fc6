"""The audit log beyond what changes write themselves: refusals, counted by the gate, are written down every second."""
