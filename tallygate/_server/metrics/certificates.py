"""What is told of certificates: how long they are good for, and how often new ones could not be read."""

from collections.abc import Mapping, Sequence

from cryptography.x509 import load_pem_x509_certificates
from prometheus_client.metrics_core import Metric

from tallygate._server.metrics.families import counter, gauge


def expiry_s(pem: bytes) -> float:
    """When the first of these certificates ends that does, in seconds since 1970."""
    return min(one.not_valid_after_utc.timestamp() for one in load_pem_x509_certificates(pem))


def certificate_families(certificates: Mapping[str, bytes], failed_reads: int) -> Sequence[Metric]:
    """`certificates`: those in use, as PEM by what they are for; `failed_reads`: how often files were found broken."""
    return (
        gauge(
            "tallygate_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file in use ends, since 1970.",
            {use: expiry_s(pem) for use, pem in certificates.items()},
            "use",
        ),
        counter(
            "tallygate_certificate_reload_failures",
            "Reads that found the files of certificates broken; those that had been read before stayed in use.",
            failed_reads,
        ),
    )
