"""Traces: OpenTelemetry spans of requests, of what is appended, of commits and of deliveries.

Off unless `otlp_endpoint` is set, and then nothing of OpenTelemetry is imported: `api.tracing.off`
decides. No attribute holds a key, a token, a path, an address of a device or anything published.
"""
