"""A thread that is nice lets the others go first, and is the only one."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from ragrid.inference.onnx_embedder import be_nice


def test_only_the_threads_of_the_pool_are_nice() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with ThreadPoolExecutor(1, initializer=be_nice, initargs=(before + 5,)) as pool:
        niceness = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert niceness == before + 5
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
