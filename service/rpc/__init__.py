"""Servicers: each method decodes, makes one call, encodes. Errors are left to the interceptor."""

from service.rpc.load_reports import load_report_handler
from service.rpc.servicers import SERVICE_NAMES, add_servicers

__all__ = ["SERVICE_NAMES", "add_servicers", "load_report_handler"]
