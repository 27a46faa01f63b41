"""Floor 4: an LLM rewrites top-scored seeds into problem-solving code files (paper 2.4).

Read in order: `seeds` (which documents, which lines of them), `prompts` (what the model is asked),
`generate` (ask, keep the responses, make shards), `checks` (what is accepted).
"""

from megatron_snow.synthesis.generate import plan_requests, synthesize_documents

__all__ = ["plan_requests", "synthesize_documents"]
