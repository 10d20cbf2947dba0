# %% [markdown]
# # A tour of chunkimg
#
# On the fMRI that comes with nibabel. Run it as a script, or cell by cell in an editor that knows `# %%`.

# %%
import tempfile
from pathlib import Path

import nibabel

import chunkimg as ci

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Open
#
# Only the header is read. The image is an xarray DataArray with Dask blocks; `.img` shows what it is and where it lies.

# %%
fmri = ci.open_image(f"{nibabel.__path__[0]}/tests/data/example4d.nii.gz")
fmri.img  # in a notebook this shows a table

# %%
print(fmri.img)

# %% [markdown]
# ## Geometry
#
# World coordinates are RAS+ (x to the right, y to the front, z to the head), in the file's unit. They are computed from
# the coordinates, so they stay right whatever is sliced.

# %%
print("spacing    ", fmri.img.spacing, fmri.img.units)
print("orientation", fmri.img.orientation)
print("center     ", fmri.img.center)

voxel = (40, 50, 12)
print("voxel", voxel, "lies at", fmri.img.to_world(voxel))

every_other = fmri.isel(x=slice(None, None, -2))
print("and after flipping and thinning x, that place is voxel", every_other.img.to_index(fmri.img.to_world(voxel)))

# %% [markdown]
# ## Crop in millimetres
#
# A box in the world; the scan is oblique, so all eight corners count.

# %%
roi = fmri.img.crop_world((-20, 0, 10), (20, 40, 30))
print(dict(fmri.sizes), "->", dict(roi.sizes))

# %% [markdown]
# ## Subtract two frames
#
# Images combine only where they occupy the same space. (These voxels are int16, which can hold the difference; unsigned
# integers wrap round in NumPy: convert them with `.astype("i4")` first.)

# %%
change = roi.isel(t=1) - roi.isel(t=0)
print("largest change", int(abs(change).max()))

try:
    roi.isel(t=0) - fmri.isel(t=0, z=slice(1, None))
except ci.GeometryError as error:
    print("refused:", error)

# %% [markdown]
# ## Save
#
# The suffix chooses the format. Nothing is held in memory whole, and nothing incomplete ever stands under the name.

# %%
change.img.save(folder / "change.nii.gz")
fmri.img.save(folder / "fmri.ome.zarr", pyramid=True)
print(ci.open_image(folder / "fmri.ome.zarr").img)

# %% [markdown]
# The store is OME-Zarr and plain xarray at once, and gives the NIfTI back byte for byte.

# %%
ci.convert(folder / "fmri.ome.zarr", folder / "again.nii")
print(ci.read_header(folder / "again.nii").fields["descrip"])
