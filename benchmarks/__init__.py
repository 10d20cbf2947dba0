"""Benchmarks of chunkimg; they measure and never assert a time. ``python -m benchmarks --list`` names them."""
