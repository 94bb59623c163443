"""Numbers in digits and in words, with their units: however one is written, it becomes the same token."""
