"""What the server does and how it fares, in Prometheus's format.

``PrometheusMeters`` is told by the engine and by HTTP what happens, in a registry of its own, and writes it
down for whoever scrapes, together with the server's figures at that moment. Every label takes its values
from a set that the program bounds: no client and no workspace can make it grow.
"""

from __future__ import annotations

from nexus_prometheus.meters import PrometheusMeters

__all__ = ["PrometheusMeters"]
