# SPDX-License-Identifier: Apache-2.0
"""One end of a link on which all takes long and some is lost: what a network card says goes by pipes.

$ python far_end.py v2 0.3 0.05 < FROM_THE_OTHER_END > TO_THE_OTHER_END

It makes a card of that name, says `ready` on standard error, and ends as its input does. The kernel
has `netem` for that, where it was built with it.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

_MAKES = 0x400454CA  # TUNSETIFF of linux/if_tun.h
_WHOLE_FRAMES = 0x0002 | 0x1000  # IFF_TAP | IFF_NO_PI
_LENGTH = struct.Struct("!H")


def main(name: str, delay_s: float, loss: float) -> None:
    """Pass frames on, each after a while, but for those that are lost."""
    chance, card = random.Random(16), os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(card, _MAKES, struct.pack("16sH22x", name.encode(), _WHOLE_FRAMES))
    print("ready", file=sys.stderr, flush=True)
    under_way: list[tuple[float, int, bytes]] = []
    came, count = b"", 0
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([card, 0], [], [], wait_s)
        if card in readable:
            frame, count = os.read(card, 1 << 16), count + 1
            if chance.random() >= loss:
                heapq.heappush(under_way, (time.monotonic() + delay_s, count, frame))
        if 0 in readable:
            if not (more := os.read(0, 1 << 16)):
                return
            came += more
            while len(came) > 1 and len(came) >= (whole := 2 + _LENGTH.unpack_from(came)[0]):
                os.write(card, came[2:whole])
                came = came[whole:]
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, frame = heapq.heappop(under_way)
            os.write(1, _LENGTH.pack(len(frame)) + frame)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
