"""NIfTI to Zarr: one level, with a pyramid, from gzip."""

from .slabs import map_nifti, metadata, open_ts, same_array


def tensorstore(source, like, dest):
    """By hand: slabs of a shard's depth, one being written while the next is read."""
    deep = same_array(like, dest)
    array, voxels = open_ts(dest), map_nifti(source)
    before = None
    for z in range(0, len(voxels), deep):
        slab = voxels[z : z + deep]
        now = array[z : z + len(slab)].write(slab)
        if before is not None:
            before.result()
        before = now
    before.result()


def zarr_python(source, like, dest):
    import zarr

    deep = same_array(like, dest)
    array, voxels = zarr.open_array(dest, path="image", mode="r+"), map_nifti(source)
    for z in range(0, len(voxels), deep):
        array[z : z + deep] = voxels[z : z + deep]


def _by_xarray(source, dest):
    import dask.array as da
    import nibabel as nib
    import numpy as np
    import xarray as xr

    values = np.asanyarray(nib.load(source).dataobj).T
    image = xr.DataArray(da.from_array(values, chunks=128), dims=("z", "y", "x"), name="image")
    image.to_zarr(dest, mode="w")


def xarray_dask(source, dest):
    """The usual way: nibabel, Dask, ``to_zarr`` with its defaults."""
    _by_xarray(source, dest)


def nifti_zarr(source, dest):
    import niizarr

    niizarr.nii2zarr(source, dest, chunk=128, nb_levels=1)


def zarrnii(source, dest):
    from zarrnii import ZarrNii

    ZarrNii.from_nifti(source).to_ome_zarr(dest, max_layer=1)


class _Mapped:
    """Voxels that Dask reads block by block; a memmap itself would be copied into the graph."""

    def __init__(self, source):
        voxels = map_nifti(source)
        self.source, self.shape, self.dtype, self.ndim = source, voxels.shape, voxels.dtype, voxels.ndim

    def __getitem__(self, key):
        import numpy as np

        return np.array(map_nifti(self.source)[key])


def _lazy(source):
    import dask.array as da

    return da.from_array(_Mapped(source), chunks=128, name=source)


def ngff_zarr(source, dest):
    import ngff_zarr as nz

    image = nz.to_ngff_image(_lazy(source), dims=("z", "y", "x"), scale={"z": 1.25, "y": 0.7, "x": 0.7})
    nz.to_ngff_zarr(dest, nz.to_multiscales(image, scale_factors=[], chunks=128), version="0.5")


def ome_zarr(source, dest):
    from ome_zarr.writer import write_image

    write_image(_lazy(source), dest, scale_factors=None, axes="zyx", scale={"z": 1.25, "y": 0.7, "x": 0.7})


def ngff_zarr_shrink(source, dest):
    """Its fastest method."""
    import ngff_zarr as nz

    image = nz.to_ngff_image(_lazy(source), dims=("z", "y", "x"), scale={"z": 1.25, "y": 0.7, "x": 0.7})
    levels = nz.to_multiscales(image, method=nz.Methods.DASK_BIN_SHRINK, chunks=128)
    nz.to_ngff_zarr(dest, levels, version="0.5")


def ngff_zarr_itkwasm_shrink(source, dest):
    import ngff_zarr as nz

    image = nz.to_ngff_image(_lazy(source), dims=("z", "y", "x"), scale={"z": 1.25, "y": 0.7, "x": 0.7})
    levels = nz.to_multiscales(image, method=nz.Methods.ITKWASM_BIN_SHRINK, chunks=128)
    nz.to_ngff_zarr(dest, levels, version="0.5")


def ome_zarr_pyramid(source, dest):
    from ome_zarr.writer import write_image

    factors = [dict.fromkeys("zyx", 2**k) for k in range(1, 4)]
    write_image(_lazy(source), dest, scale_factors=factors, axes="zyx", scale={"z": 1.25, "y": 0.7, "x": 0.7})


def decode_isal(source):
    """ISA-L alone, imports apart."""
    import time

    from isal import igzip

    start = time.perf_counter()
    with igzip.open(source) as f:
        while f.read(4 << 20):
            pass
    return {"seconds": time.perf_counter() - start}


def encode_cpu(source, like):
    """CPU time of encoding to memory with the codec and the chunks of `like`, by tensorstore."""
    import resource

    import numpy as np
    import tensorstore as ts

    meta = metadata(like)
    deep = meta["chunk_grid"]["configuration"]["chunk_shape"][0]
    keys = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "memory"},
        "create": True,
        "metadata": {key: meta[key] for key in keys},
    }
    array, voxels = ts.open(spec).result(), map_nifti(source)

    def cpu():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    total = 0.0
    for z in range(0, len(voxels), deep):
        slab = np.array(voxels[z : z + deep])
        start = cpu()
        array[z : z + len(slab)].write(slab).result()
        total += cpu() - start
    return {"seconds": total}


def decode_indexed_gzip(source):
    import indexed_gzip

    with indexed_gzip.IndexedGzipFile(source) as f:
        while f.read(4 << 20):
            pass
