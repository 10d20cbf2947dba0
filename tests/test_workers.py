"""The workers: every item once, the first error, nothing that runs on, no deadlock, forks."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from chunkimg import workers
from chunkimg.workers import each, start


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_every_item_once(count):
    done = []
    each(done.append, range(count))
    assert sorted(done) == list(range(count))
    more = []
    start(more.append, iter(range(count))).wait()
    assert sorted(more) == list(range(count))


def test_items_are_taken_as_they_go():
    """A generator of millions is not kept as a list."""
    taken, done = [], []

    def items():
        for k in range(1000):
            taken.append(k)
            yield k

    def work(k):
        done.append(k)
        assert len(taken) <= len(done) + 2 * workers.thread_count() + 2

    each(work, items())
    assert len(done) == 1000


def test_the_first_error_in_time_is_raised_and_the_rest_is_left():
    done = []

    def work(k):
        if k == 1:
            # fails later than its neighbour
            time.sleep(0.05)
        if k < 2:
            raise ValueError(k)
        time.sleep(0.001)
        done.append(k)

    with pytest.raises(ValueError) as caught:
        each(work, range(10_000))
    assert caught.value.args == (0,) or workers.thread_count() == 1
    assert len(done) < 5000
    count = len(done)
    time.sleep(0.02)
    assert len(done) == count


def test_errors_of_items_and_stop_iteration():
    def items():
        yield 1
        yield 2
        yield 3
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        each(lambda _: None, items())

    def stops(k):
        raise StopIteration(k)

    with pytest.raises(StopIteration):
        each(stops, range(9))


def test_what_is_abandoned_does_not_run_on():
    done, begun = [], threading.Event()

    def work(k):
        begun.set()
        time.sleep(0.005)
        done.append(k)

    pending = start(work, range(1000)) + start(work, range(1000))
    begun.wait()
    pending.abandon()
    count = len(done)
    assert count < 100
    time.sleep(0.03)
    assert len(done) == count


def test_an_interrupt_leaves_nothing_running(monkeypatch):
    done = []

    def work(k):
        time.sleep(0.005)
        done.append(k)

    real, first = workers.wait, [True]

    def interrupted(futures):
        if first.pop() if first else False:
            raise KeyboardInterrupt
        return real(futures)

    monkeypatch.setattr(workers, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        each(work, range(1000))
    count = len(done)
    assert count < 100
    time.sleep(0.03)
    assert len(done) == count


def test_an_interrupt_while_work_is_given_out_leaves_nothing_running(monkeypatch):
    done, begun = [], threading.Event()

    def work(k):
        begun.set()
        time.sleep(0.005)
        done.append(k)

    real, first = workers.pool, []

    def interrupted():
        if first:
            begun.wait()
            raise KeyboardInterrupt
        first.append(1)
        return real()

    monkeypatch.setattr(workers, "thread_count", lambda: 2)
    monkeypatch.setattr(workers, "pool", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(work, range(1000))
    count = len(done)
    assert count < 100
    time.sleep(0.1)
    assert len(done) == count


def test_workers_that_call_workers_do_not_deadlock():
    done = []

    def outer(k):
        each(lambda j: done.append((k, j)), range(5))

    # as Dask's threads do
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda k: each(outer, range(10 * k, 10 * k + 10)), range(8)))
    assert sorted(done) == [(k, j) for k in range(80) for j in range(5)]


def test_one_pool_a_process():
    with ThreadPoolExecutor(16) as threads:
        assert len({id(p) for p in threads.map(lambda _: workers.pool(), range(64))}) == 1


def _sum():
    total = []
    each(total.append, range(100))
    return sum(total)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forks(tmp_path):
    code = f"""
import os, signal, multiprocessing, warnings
import numpy as np
import chunkimg as ci
from chunkimg.workers import each
warnings.simplefilter("ignore")
path = {str(tmp_path / "a.zarr")!r}
data = (np.arange(40 * 50 * 60) % 999).astype("i2").reshape(40, 50, 60)
ci.from_array(data).img.save(path, chunks=16)
image = ci.open_image(path, chunks=None)
assert (image.values == data).all()
child = os.fork()
if child == 0:
    signal.alarm(30)
    ok = (image.values == data).all() and (ci.open_image(path).values == data).all()
    os._exit(0 if ok else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
def total(z):
    signal.alarm(30)
    return int(image.isel(z=z).values.sum())
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(total, range(40)) == data.sum((1, 2)).tolist()
print("done")
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert out.stdout == "done\n", out.stderr


def test_spawned_processes(tmp_path):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_sum) == 4950
