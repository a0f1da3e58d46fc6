"""What a node does with reports, leases and bookings. Everything happens on one event loop.

Two entrances: `meter_stream.py` (a stream) and `unary.py` (one report a call). `node.py` is the state that all
use cases share. Wings, each using only those before it: `state/`, `access/`, `commits/`, `reports/`, `lookups/`,
`leases/`, `upkeep/`. What use cases need of the outside stands in `ports.py`.
"""
