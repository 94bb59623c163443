"""Sources: files, folders and streams read into records of tasks."""
