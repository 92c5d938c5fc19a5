"""Simulation engines, packet sources and sinks, reports and the command line."""
