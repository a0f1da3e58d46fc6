"""The methods of both services' contracts."""

from tallygate.control.v1 import (
    access_service_pb2,
    account_service_pb2,
    audit_service_pb2,
    catalog_service_pb2,
    fleet_service_pb2,
    lifecycle_service_pb2,
    operations_service_pb2,
    recovery_service_pb2,
    team_service_pb2,
    token_service_pb2,
)
from tallygate.metering.v1 import metering_service_pb2

CONTROL = (
    access_service_pb2,
    account_service_pb2,
    audit_service_pb2,
    catalog_service_pb2,
    fleet_service_pb2,
    lifecycle_service_pb2,
    operations_service_pb2,
    recovery_service_pb2,
    team_service_pb2,
    token_service_pb2,
)
METHODS_OF_CONTROL = [
    method for file in CONTROL for service in file.DESCRIPTOR.services_by_name.values() for method in service.methods
]
UNARY_OF_METERING = [
    method
    for method in metering_service_pb2.DESCRIPTOR.services_by_name["MeteringService"].methods
    if not method.client_streaming
]
