"""Numbers in digits and in words, with their units: every spelling of a number becomes the same token."""
