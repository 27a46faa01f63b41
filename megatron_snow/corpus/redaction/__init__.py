"""Secrets, e-mail and IP addresses: found behind a fast prefilter, replaced by stand-ins of the same form, logged."""

from megatron_snow.corpus.redaction.stage import redact
from megatron_snow.corpus.redaction.texts import Finding, redact_text

__all__ = ["Finding", "redact", "redact_text"]
