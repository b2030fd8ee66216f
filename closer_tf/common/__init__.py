"""What everything else stands on: files, limits, plain data, the terminal, the backend."""
