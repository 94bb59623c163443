"""Whether an engine answers with the adapter that was trained: `seal accept`."""
