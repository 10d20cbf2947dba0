"""Formats: how images are stored. Nothing here knows xarray."""
