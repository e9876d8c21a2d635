"""Load reports as balancers read them: the messages of ORCA, `xds.data.orca.v3` and `xds.service.orca.v3`.

They are declared here, in a pool of their own, with the fields that are used: the one package that has them
(xds-protos) installs its own google.rpc and OpenTelemetry over those of others.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from service.api.load import LoadReport
from service.api.usage import Usage
from service.wire.usage import check_span, seconds_from_proto

METADATA_KEY = "endpoint-load-metrics-bin"
PACKAGE = "xds.data.orca.v3"
NUMBERS = {"rps_fractional": 6, "eps": 7, "application_utilization": 9}
MAPS = {"request_cost": 4, "named_metrics": 8}


def load_to_orca(load: LoadReport, cost: Usage | None = None) -> bytes:
    """An OrcaLoadReport; `cost` is what the call has taken that it is sent with."""
    report = _Report(
        application_utilization=load.utilization,
        rps_fractional=load.calls_per_second,
        eps=load.failures_per_second,
        named_metrics=_named_metrics(load),
        request_cost=_request_cost(cost) if cost else {},
    )
    return bytes(report.SerializeToString())


def interval_from_orca(message: Any) -> float:
    """Seconds, as an OrcaLoadReportRequest asks for; 0 where it doesn't. Raises InvalidField."""
    check_span(message.report_interval)
    return seconds_from_proto(message.report_interval)


def _request_cost(usage: Usage) -> Mapping[str, float]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
    }


def _named_metrics(load: LoadReport) -> Mapping[str, float]:
    """Of all models together, but for the share of a cache, which is the fullest one's."""
    return {
        "running_requests": sum(model.running_requests for model in load.models),
        "queued_requests": sum(model.waiting_requests for model in load.models),
        "queued_tokens": sum(model.waiting_tokens for model in load.models),
        "cache_usage": max((model.cache_usage for model in load.models), default=0.0),
    }


def _declared() -> tuple[Any, Any]:
    """The classes of OrcaLoadReport and OrcaLoadReportRequest."""
    report = DescriptorProto(name="OrcaLoadReport")
    for name, number in NUMBERS.items():
        report.field.add(name=name, number=number, type=FieldDescriptorProto.TYPE_DOUBLE)
    for name, number in MAPS.items():
        _add_map(report, name, number)
    request = DescriptorProto(name="OrcaLoadReportRequest")
    duration = duration_pb2.DESCRIPTOR
    request.field.add(name="report_interval", number=1, type_name=".google.protobuf.Duration")
    file = FileDescriptorProto(name="orca.proto", package=PACKAGE, syntax="proto3", dependency=[duration.name])
    file.message_type.extend((report, request))
    pool = DescriptorPool()
    pool.AddSerializedFile(duration.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    report_class, request_class = (pool.FindMessageTypeByName(f"{PACKAGE}.{m.name}") for m in (report, request))
    return GetMessageClass(report_class), GetMessageClass(request_class)


def _add_map(message: DescriptorProto, name: str, number: int) -> None:
    """A map of doubles: to protobuf a list of messages, each with a key and a value."""
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry", options={"map_entry": True})
    entry.field.add(name="key", number=1, type=FieldDescriptorProto.TYPE_STRING)
    entry.field.add(name="value", number=2, type=FieldDescriptorProto.TYPE_DOUBLE)
    kind = f".{PACKAGE}.{message.name}.{entry.name}"
    message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_REPEATED, type_name=kind)


_Report, LoadReportRequest = _declared()
