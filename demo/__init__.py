"""The sample clip with exact masks, and `make demo`."""
