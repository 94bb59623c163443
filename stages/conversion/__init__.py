"""Documents of other programs as text: converted in a process apart, within bounds of time and memory."""
