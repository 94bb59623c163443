"""Engines generate completions: transformers, vLLM, or an OpenAI-compatible server."""
