"""The use cases of the service, most of them one transaction each.

Wings: `people/` (requests of people) and `fleet/` (requests of metering nodes), which do not know each other; above
both `upkeep/` (changes that time alone brings about). `ports.py` and `fleet_ports.py` say what they need of a database.
"""
