"""Benchmarks of chunkimg; they measure and never assert a time."""
