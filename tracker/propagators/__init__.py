"""Propagators: ways to carry masks from frame to frame."""
