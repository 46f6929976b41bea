"""Pods, modellers, tasks, screening, and the command line."""
