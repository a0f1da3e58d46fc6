"""What the service does, one transaction each.

Wings: `people/` (what people ask for) and `fleet/` (what metering nodes ask for), which do not know each
other; above both `upkeep/` (what time brings about). What they need of a database stands in `ports.py` and
`fleet_ports.py`.
"""
