"""What people see on stderr and in their terminal: progress, notes, tables, views."""
