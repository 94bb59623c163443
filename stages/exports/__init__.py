"""Adapters and models in the formats of other programs, and GGUF files as models."""
