"""A write is complete or not there: killed, out of space, refused, interrupted, doubled."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import chunkimg as ci
from chunkimg.io.commit import partial_directory, partial_file


def image(n=40, value=0):
    data = (np.arange(n**3).reshape(n, n, n) % 1000 + value).astype("i2")
    return ci.from_array(data, spacing=(1, 2, 3))


SLOW = """
import sys, time
import chunkimg as ci
from chunkimg.io import copy as engine, zarr_append
def slowed(step):
    def slow(*a):
        print("piece", flush=True)
        time.sleep(0.02)
        return step(*a)
    return slow
engine._finished = slowed(engine._finished)
zarr_append.ArrayWriter._do = slowed(zarr_append.ArrayWriter._do)
print("start", flush=True)
options = eval(sys.argv[4]) if len(sys.argv) > 4 else {}
ci.convert(sys.argv[1], sys.argv[2], budget=1 << 20, overwrite=len(sys.argv) > 3, **options)
print("done", flush=True)
"""


def kill_after(tmp_path, dest, lines, *more):
    """Start a slow conversion and kill it -9 after so many lines of its output; returns whether it was done."""
    command = [sys.executable, "-c", SLOW, str(tmp_path / "source.nii"), str(dest), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    seen = []
    for line in process.stdout:
        seen.append(line.strip())
        if len(seen) >= lines:
            break
    os.kill(process.pid, signal.SIGKILL)
    seen += [line.strip() for line in process.stdout]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL or "done" in seen, "it ended by itself: nothing was tried"
    return "done" in seen


def everything_that_opens(folder):
    """Paths below a folder that any reader takes for an image or an array."""
    import zarr

    out = []
    for path in [folder, *folder.rglob("*")]:
        try:
            if path.is_dir():
                zarr.open(path, mode="r")
            else:
                ci.open_image(path)
        except Exception:
            continue
        out.append(path)
    return out


@pytest.mark.parametrize(
    "name", ["out.nii", "out.nii.gz", "out.hdr", "out.nrrd", "out.nhdr", "out.ome.zarr", "pyramid.ome.zarr"]
)
@pytest.mark.parametrize("lines", [1, 2, 4, 9])
def test_kill_9_leaves_nothing_that_opens(tmp_path, name, lines):
    image(130).img.save(tmp_path / "source.nii")
    work = tmp_path / "work"
    work.mkdir()
    options = "{'pyramid': True}" if name.startswith("pyramid") else "{}"
    done = kill_after(tmp_path, work / name, lines, "overwrite", options)
    found = everything_that_opens(work)
    if not done:
        assert found == [] or ci.open_image(work / name).equals(ci.open_image(tmp_path / "source.nii"))
    # the same command afterwards just works, and leaves nothing else
    ci.convert(tmp_path / "source.nii", work / name, overwrite=True, **eval(options))
    assert ci.open_image(work / name).equals(ci.open_image(tmp_path / "source.nii"))
    expected = {name} | {"out.hdr": {"out.img"}, "out.nhdr": {"out.raw"}}.get(name, set())
    assert {p.name for p in work.iterdir()} == expected


@pytest.mark.parametrize("name", ["out.nii.gz", "out.ome.zarr"])
def test_kill_9_while_replacing_keeps_the_old_one(tmp_path, name):
    image(130).img.save(tmp_path / "source.nii")
    image(20, 5).img.save(tmp_path / name)
    assert not kill_after(tmp_path, tmp_path / name, 3, "overwrite")
    assert ci.open_image(tmp_path / name).equals(image(20, 5))


def test_existing_destinations_are_refused(tmp_path):
    for name in ("a.nii", "a.hdr", "b.nrrd", "b.nhdr", "a.ome.zarr"):
        image().img.save(tmp_path / name)
        with pytest.raises(FileExistsError, match="overwrite"):
            image(value=1).img.save(tmp_path / name)
        assert ci.open_image(tmp_path / name).equals(image())
        image(value=1).img.save(tmp_path / name, overwrite=True)
        assert ci.open_image(tmp_path / name).equals(image(value=1))
    with pytest.raises(FileNotFoundError, match="folder"):
        image().img.save(tmp_path / "nowhere" / "a.nii")
    with pytest.raises(ci.FormatError, match="own source"):
        ci.convert(tmp_path / "a.nii", tmp_path / "a.nii", overwrite=True)
    (tmp_path / "b.nii").mkdir()
    with pytest.raises(IsADirectoryError):
        image().img.save(tmp_path / "b.nii", overwrite=True)


class Failing:
    """A progress that raises in the middle."""

    def __init__(self, error):
        self.error = error

    def start(self, total):
        assert total > 0

    def __call__(self, count):
        raise self.error


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.nrrd", "a.nhdr", "a.ome.zarr"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_error_leaves_nothing(tmp_path, name, error):
    with pytest.raises(type(error)):
        image().img.save(tmp_path / name, progress=Failing(error))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.ome.zarr"])
def test_full_disk(tmp_path, name):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("cannot mount here")
    try:
        noise = np.random.default_rng(0).integers(-9999, 9999, (130, 130, 130)).astype("i2")
        with pytest.raises(OSError, match="No space left"):
            ci.from_array(noise).img.save(disk / name)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_two_writers_of_one_destination(tmp_path):
    with partial_directory(tmp_path / "a.zarr") as mine:
        (mine / "chunk").write_bytes(b"voxels")
        with pytest.raises(ci.FormatError, match="another process is writing"):
            image().img.save(tmp_path / "a.zarr")
        # the one who came too late touches nothing
        assert (mine / "chunk").read_bytes() == b"voxels"
    assert (tmp_path / "a.zarr" / "chunk").exists()
    with partial_file(tmp_path / "a.nii"), pytest.raises(ci.FormatError, match="another process is writing"):
        image().img.save(tmp_path / "a.nii")


def test_writes_do_not_wait_for_the_clock(tmp_path):
    """A stale partial file of a dead writer is replaced, whatever its age."""
    Path(tmp_path / ".a.nii.partial").write_bytes(b"old")
    os.utime(tmp_path / ".a.nii.partial", (time.time() + 99,) * 2)
    image().img.save(tmp_path / "a.nii")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii"]


class Intruder:
    """Takes the name of the destination while it is being written."""

    def __init__(self, path):
        self.path = path

    def start(self, total):
        pass

    def __call__(self, count):
        if self.path.suffix == ".zarr":
            self.path.mkdir(exist_ok=True)
            (self.path / "precious").write_text("mine")
        else:
            self.path.write_text("mine")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.zarr"])
def test_what_appears_meanwhile_is_not_replaced(tmp_path, name):
    with pytest.raises(FileExistsError, match="appeared"):
        image().img.save(tmp_path / name, progress=Intruder(tmp_path / name))
    kept = tmp_path / name / "precious" if name == "a.zarr" else tmp_path / name
    assert kept.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.nii", "a.zarr"])
def test_nothing_is_written_through_links_of_others(tmp_path, name):
    (tmp_path / "precious").mkdir() if name == "a.zarr" else (tmp_path / "precious").write_text("mine")
    (tmp_path / f".{name}.partial").symlink_to(tmp_path / "precious")
    with pytest.raises((OSError, ci.FormatError)):
        image().img.save(tmp_path / name)
    assert (tmp_path / "precious").exists()
    assert name == "a.zarr" or (tmp_path / "precious").read_text() == "mine"


def test_a_link_as_destination_is_followed(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "real.nii").write_text("old")
    (tmp_path / "a.nii").symlink_to(tmp_path / "big" / "real.nii")
    image().img.save(tmp_path / "a.nii", overwrite=True)
    assert (tmp_path / "a.nii").is_symlink()
    assert ci.open_image(tmp_path / "big" / "real.nii").equals(image())


class Rewriting:
    """A progress that writes other voxels into the source, as `cp` would, or under its name."""

    def __init__(self, path, data, inplace):
        self.path, self.data, self.inplace, self.done = path, data, inplace, False

    def start(self, total):
        pass

    def __call__(self, count):
        if self.done:
            return
        self.done = True
        other = self.path if self.inplace else self.path.with_suffix(".new")
        with open(other, "r+b" if self.inplace else "wb") as file:
            file.write(self.data)
        os.utime(other, ns=(1, 1))
        os.replace(other, self.path)


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.nrrd", "b.ome.zarr"])
@pytest.mark.parametrize("inplace", [True, False])
def test_a_file_that_is_written_into_while_it_is_read_is_not_taken_for_one_image(tmp_path, name, inplace):
    image(130).img.save(tmp_path / "a.nii")
    image(130, 5000).img.save(tmp_path / "other.nii")
    before, other = ci.open_image(tmp_path / "a.nii").values, (tmp_path / "other.nii").read_bytes()
    progress = Rewriting(tmp_path / "a.nii", other, inplace)
    try:
        ci.convert(tmp_path / "a.nii", tmp_path / name, budget=1 << 20, progress=progress)
    except ci.FormatError as error:
        assert "has changed since it was opened" in str(error)
        assert not (tmp_path / name).exists()
    else:
        # what has lost its name is read to its end
        assert not inplace and np.array_equal(ci.open_image(tmp_path / name).values, before)


def test_a_writer_killed_before_it_removed_the_partial_name_harms_nobody(tmp_path):
    """A file appears by a second link: one killed between that and the unlinking of the first leaves both."""
    image(20, 5).img.save(tmp_path / "a.nii")
    os.link(tmp_path / "a.nii", tmp_path / ".a.nii.partial")
    os.rename(tmp_path / "a.nii", tmp_path / "kept.nii")
    image().img.save(tmp_path / "a.nii")
    assert ci.open_image(tmp_path / "kept.nii").equals(image(20, 5))
    assert ci.open_image(tmp_path / "a.nii").equals(image())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "kept.nii"]
    os.link(tmp_path / "a.nii", tmp_path / ".a.nii.partial")
    with pytest.raises(KeyboardInterrupt):
        image(20).img.save(tmp_path / "a.nii", overwrite=True, progress=Failing(KeyboardInterrupt()))
    assert ci.open_image(tmp_path / "a.nii").equals(image())


class Removing:
    """A progress that removes what is being written, as a user would who takes it for a left-over."""

    def __init__(self, path):
        self.path, self.done = path, False

    def start(self, total):
        pass

    def __call__(self, count):
        if self.done:
            return
        self.done = True
        if self.path.is_dir():
            # in one step: workers put files into a folder that is being emptied
            gone = self.path.with_name("gone")
            self.path.rename(gone)
            shutil.rmtree(gone)
        else:
            self.path.unlink()
            self.path.write_bytes(b"of the next writer")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.ome.zarr"])
def test_what_was_removed_while_it_was_written_does_not_appear_in_part(tmp_path, name):
    image(130).img.save(tmp_path / "source.nii")
    progress = Removing(tmp_path / f".{name}.partial")
    with pytest.raises((ci.FormatError, OSError), match=r"removed while it was being written|No such file"):
        ci.convert(tmp_path / "source.nii", tmp_path / name, budget=1 << 20, progress=progress)
    assert progress.done and not (tmp_path / name).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are two renames")
def test_a_store_is_replaced_in_one_step(tmp_path, monkeypatch):
    """At any moment the old one or the new one is there under its name; nothing half-removed opens."""
    image(20, 5).img.save(tmp_path / "a.ome.zarr")
    seen = []

    def looking(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            seen.append(ci.open_image(tmp_path / "a.ome.zarr", chunks=None).shape[0])
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    looking("rename")
    looking("rmdir")
    image().img.save(tmp_path / "a.ome.zarr", overwrite=True)
    assert seen[0] == 20 and seen[-1] == 40
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_what_is_being_removed_does_not_open(tmp_path, monkeypatch):
    """Killed while it removes the old store, a writer leaves none that opens, and the next one removes it."""
    image(20, 5).img.save(tmp_path / "a.ome.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            image().img.save(tmp_path / "a.ome.zarr", overwrite=True)
    assert ci.open_image(tmp_path / "a.ome.zarr").equals(image())
    left = tmp_path / ".a.ome.zarr.replaced"
    assert left.is_dir() and not (left / "zarr.json").exists()
    image(value=1).img.save(tmp_path / "a.ome.zarr", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ome.zarr"]


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz", "out.hdr", "out.nhdr"])
def test_files_of_killed_writers_are_removed(tmp_path, name):
    image(70).img.save(tmp_path / "a.nii.gz")
    turned = ci.open_image(tmp_path / "a.nii.gz", chunks=None).isel(z=slice(None, None, -1))
    voxels = {"out.hdr": "out.img", "out.nhdr": "out.raw"}.get(name, name)
    work = tmp_path / "work"
    work.mkdir()
    for left in (f".{voxels}.partial", f".{name}.partial", *([f".{name}.replaced"] if name != voxels else [])):
        (work / left).write_bytes(b"of a killed writer")
    turned.img.save(work / name, budget=1 << 20)
    assert {p.name for p in work.iterdir()} == {name, voxels}
    assert np.array_equal(ci.open_image(work / name).values, turned.values)


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_sigterm_removes_what_is_half_written(tmp_path):
    """As schedulers send it, and `kill`."""
    image(130).img.save(tmp_path / "source.nii")
    work = tmp_path / "work"
    work.mkdir()
    slow = SLOW.split('print("start"')[0] + "from chunkimg.cli import main\nsys.argv[0] = 'chunkimg'\nmain()\n"
    command = [sys.executable, "-c", slow, "convert", tmp_path / "source.nii", work / "a.ome.zarr", "--memory", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(4):
            process.stdout.readline()
        process.terminate()
        _, said = process.communicate()
    assert process.returncode == 1 and said.strip() == "chunkimg: interrupted; nothing was written"
    assert list(work.iterdir()) == []


class Replacing:
    """A progress that puts another image in the place of the source, as another process would."""

    def __init__(self, source, by):
        self.source, self.by, self.done = source, by, False

    def start(self, total):
        pass

    def __call__(self, count):
        if not self.done:
            self.done = True
            os.rename(self.source, self.source.with_name("before"))
            os.rename(self.by, self.source)


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.ome.zarr"])
def test_a_store_that_is_replaced_while_it_is_read_is_not_taken_for_one_image(tmp_path, name):
    for k, source in enumerate(("a", "other")):
        image(130, 5000 * k).img.save(tmp_path / f"{source}.zarr", chunks=32)
    progress = Replacing(tmp_path / "a.zarr", tmp_path / "other.zarr")
    with pytest.raises((ci.FormatError, FileNotFoundError), match=r"replaced since it was opened|not there any more"):
        ci.convert(tmp_path / "a.zarr", tmp_path / name, budget=1 << 20, progress=progress)
    assert progress.done and not (tmp_path / name).exists()


def test_an_array_that_grows_or_is_told_more_stays_open(tmp_path):
    import zarr

    image().img.save(tmp_path / "a.zarr")
    opened = ci.open_image(tmp_path / "a.zarr", chunks=None)
    array = zarr.open_array(tmp_path / "a.zarr" / "image", mode="r+")
    array.attrs["note"] = "told later"
    array.resize((50, 40, 40))
    np.testing.assert_array_equal(opened.values, image().values)
