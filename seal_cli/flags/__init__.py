"""Groups of flags: each a dataclass that a command takes as one parameter."""
