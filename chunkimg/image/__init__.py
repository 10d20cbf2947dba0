"""Images as xarray DataArrays."""
