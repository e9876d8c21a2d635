"""Admission: which request an engine gets now, which waits, and which is told to come back."""

from service.engines.admission.admission import Admission, Bulk, Place
from service.engines.admission.bounds import Bounds, Share
from service.engines.admission.quotas import Quotas

__all__ = ["Admission", "Bounds", "Bulk", "Place", "Quotas", "Share"]
