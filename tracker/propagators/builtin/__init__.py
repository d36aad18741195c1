"""The engine that needs no download: dense optical flow, checked and tidied by appearance."""

from tracker.propagators.builtin.propagator import BuiltinPropagator

__all__ = ["BuiltinPropagator"]
