"""GGUF, the format of llama.cpp and Ollama: written from models and adapters, and read as models."""
