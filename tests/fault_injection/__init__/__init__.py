"""Torture of the stages: every file operation of a run is made to fail, and running the command again must heal it."""
