"""Models and adapters on disk and in memory: inspected without torch, loaded with errors that name the way out."""
