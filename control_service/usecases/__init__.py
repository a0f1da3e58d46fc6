"""The use cases of the service, most of them one transaction each.

Wings: `people/` (requests of people), `fleet/` (requests of metering nodes) and `access/` (who may do what), which do
not know each other; above them `upkeep/` (changes that time alone brings about). `ports.py`, `access_ports.py` and
`fleet_ports.py` say what they need of a database.
"""
