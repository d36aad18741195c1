"""Quality and speed: every command here prints plain tables."""
