"""Rows, pictures and pages of `seal report`."""
