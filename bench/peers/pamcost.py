"""What one PAM login costs: calls per second of pam_authenticate for a system user.

    pamcost.py USER PASSWORD [service] [seconds]
Uses python-pam; also times crypt(3) alone, with the hash of /etc/shadow (root)."""

import ctypes
import ctypes.util
import statistics
import sys
import threading
import time

import pam

user, pw = sys.argv[1], sys.argv[2]
service = sys.argv[3] if len(sys.argv) > 3 else "login"
secs = float(sys.argv[4]) if len(sys.argv) > 4 else 4


def rate(fn, threads):
    n, end, lock, lat = [0], time.monotonic() + secs, threading.Lock(), []

    def work():
        while time.monotonic() < end:
            t0 = time.monotonic()
            fn()
            with lock:
                n[0] += 1
                lat.append(time.monotonic() - t0)

    ts = [threading.Thread(target=work) for _ in range(threads)]
    [t.start() for t in ts]
    [t.join() for t in ts]
    return n[0] / secs, 1000 * statistics.median(lat)


def auth():
    assert pam.pam().authenticate(user, pw, service=service, resetcreds=False)


with open("/etc/shadow") as f:
    h = next(line.split(":")[1] for line in f if line.startswith(user + ":"))
lib = ctypes.CDLL("libcrypt.so.1")
lib.crypt_rn.restype = ctypes.c_char_p


def crypt():
    buf = ctypes.create_string_buffer(32768)
    assert lib.crypt_rn(pw.encode(), h.encode(), buf, 32768) == h.encode()


print(f"hash {h[:8]}")
for th in (1, 2, 8):
    r, ms = rate(auth, th)
    print(f"python-pam authenticate, service {service}, {th} thread(s): {r:.1f}/s, median {ms:.2f} ms")
    r, ms = rate(crypt, th)
    print(f"crypt(3) alone, {th} thread(s): {r:.1f}/s, median {ms:.2f} ms")
