"""Pixels: frames, propagators, fusion of passes, object identity, divergence."""
