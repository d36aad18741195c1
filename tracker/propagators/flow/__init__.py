"""The engine that learns nothing: dense optical flow, checked and tidied by appearance."""

from tracker.propagators.flow.propagator import FlowPropagator

__all__ = ["FlowPropagator"]
