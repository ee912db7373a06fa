# SPDX-License-Identifier: Apache-2.0
"""Machines where processes have no descriptors: an old kernel or Python, or a container's rule."""

import errno
import os
import signal

#: A Python that knows no such call, a kernel that knows none, and a container that allows none.
WAYS = ("unknown", errno.ENOSYS, errno.EPERM)


def take_descriptors(monkeypatch, way):
    """Have this process find none of other processes, in one of the ways; None leaves them."""

    def refuse(*_):
        raise OSError(way, os.strerror(way))

    for module, name in ((os, "pidfd_open"), (signal, "pidfd_send_signal")):
        if way == "unknown":
            monkeypatch.delattr(module, name, raising=False)
        elif way:
            monkeypatch.setattr(module, name, refuse, raising=False)
