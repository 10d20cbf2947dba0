"""Images as xarray DataArrays."""

# first of all: importing xarray registers the accessor, which imports the modules of this package
import xarray as xarray
