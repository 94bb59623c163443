"""Devices: what they can do, by their descriptions."""
