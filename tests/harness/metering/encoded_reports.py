"""Reports as inference servers put them on the wire."""

from google.protobuf.duration_pb2 import Duration

from metering_service.domain.report import Report
from tallygate.metering.v1 import report_pb2, token_usage_pb2


def encode_report(report: Report) -> report_pb2.TokenReport:
    """A report as it is sent."""
    counts = report.counts
    return report_pb2.TokenReport(
        request_id=report.request_id,
        service=report.service,
        phase=report_pb2.ReportPhase.ValueType(report.phase.value if report.phase is not None else 99),
        usage=token_usage_pb2.TokenUsage(
            input_tokens=counts.input,
            cached_input_tokens=counts.cached_input,
            cache_write_tokens=counts.cache_write,
            output_tokens=counts.output,
            reasoning_tokens=counts.reasoning,
        ),
        max_output_tokens=report.max_output_tokens,
        credential_sha256=report.key_sha256,
        source_address=report.source_address,
        model=report.model,
        labels=dict(report.labels),
        estimated=report.estimated,
        want_receipt=report.want_receipt,
        resume=report.resume,
        whole=report.whole,
        hold_for=None if report.hold_for_ns is None else encode_length(report.hold_for_ns),
        min_output_tokens=report.min_output_tokens,
        handle=report.handle,
    )


def encode_length(length_ns: int) -> Duration:
    """A length of time as it is sent."""
    seconds, nanos = divmod(length_ns, 1_000_000_000)
    return Duration(seconds=seconds, nanos=nanos)
