"""What is not worth training on: profiles of rules over statistics of the text."""

from megatron_snow.corpus.filters.loading import load_profile, profile_names
from megatron_snow.corpus.filters.profile import Profile
from megatron_snow.corpus.filters.stage import filter_documents

__all__ = ["Profile", "filter_documents", "load_profile", "profile_names"]
