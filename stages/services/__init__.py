"""Servers that speak OpenAI's protocol: what is sent, how often it is tried again, and what came of it."""
