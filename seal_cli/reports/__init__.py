"""What `seal report` reads and shows beyond its table."""
