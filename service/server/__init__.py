"""The process around the calls: wiring, life cycle, interceptors, health."""
