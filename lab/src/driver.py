"""Executes code in a Jupyter kernel for the launcher.

usage: driver.py KERNEL FOLDER

Reads one JSON object per line, {"code": ..., "timeout": seconds}, and writes one JSON object per line:
{"seconds": ...} when the kernel is ready, {"failed": message} if it never was; for each request, any number of
{"stderr": text} (of the cell) and {"log": text} (of the kernel: what cargo compiles) while it runs, then
{"status", "seconds", "execution_count", "outputs"}.
The kernel is shut down when the input ends. What the outputs mean is judged by the launcher.
"""
import json
import os
import queue
import signal
import sys
import tempfile
import time

from jupyter_client import KernelManager
from nbformat.v4 import output_from_msg

# A panic's text may arrive after the kernel has said that the cell is over, because evcxr forwards stderr on a thread of
# its own. So we listen until nothing has come for this long.
QUIET = 0.25
READY = 300
# jupyter_client looks for free ports and lets go of them before the kernel takes them: where several kernels start at once,
# two may be given the same port now and again. The later one ends with these words, and is started on other ports.
TAKEN = "Address already in use"
STARTS = 4
PARENT = os.getppid()


def say(**event):
    print(json.dumps(event), flush=True)


def keep(outputs, message):
    """Adds a message to a cell's outputs, joining pieces of one stream as JupyterLab does."""
    if message["msg_type"] not in ("stream", "display_data", "execute_result", "error"):
        return
    output = output_from_msg(message)
    if output.output_type == "stream" and outputs and outputs[-1].get("name") == output.name:
        outputs[-1]["text"] += output.text
    else:
        outputs.append(dict(output))
    if output.get("name") == "stderr":
        say(stderr=output.text)


def execute(manager, client, log, code, timeout):
    """Executes one cell and returns what came of it."""
    start = time.monotonic()
    request = client.execute(code, allow_stdin=False, stop_on_error=False)
    outputs, reply, idle, last = [], None, False, start
    while True:
        try:
            message = client.get_iopub_msg(timeout=0.05)
            last = time.monotonic()
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "status":
                idle = message["content"]["execution_state"] == "idle"
            keep(outputs, message)
            continue
        except queue.Empty:
            pass
        if text := log.read():
            say(log=text)
        try:
            message = client.get_shell_msg(timeout=0)
            if message["parent_header"].get("msg_id") == request:
                reply, last = message["content"], time.monotonic()
        except queue.Empty:
            pass
        now = time.monotonic()
        if reply and idle and now - last > QUIET:
            status = reply["status"]
        elif not manager.is_alive():
            status = "dead"
        elif now - start > timeout:
            status = "timeout"
        elif os.getppid() != PARENT:
            raise KeyboardInterrupt  # the launcher was killed
        else:
            continue
        count = (reply or {}).get("execution_count")
        return dict(status=status, seconds=last - start, execution_count=count, outputs=outputs)


def start(kernel, folder, log_file):
    """Starts a kernel; its manager, its client and its log. A kernel that does not start is a RuntimeError with its last words."""
    for attempt in range(1, STARTS + 1):
        manager, client = KernelManager(kernel_name=kernel), None
        with open(log_file, "wb"):
            pass
        log = open(log_file, encoding="utf-8", errors="replace")
        try:
            with open(log_file, "ab") as into:
                manager.start_kernel(cwd=folder, stdout=into, stderr=into)
            client = manager.client()
            client.start_channels()
            client.wait_for_ready(timeout=READY)
            return manager, client, log
        except BaseException as error:
            if client:
                client.stop_channels()
            if manager.has_kernel:
                manager.shutdown_kernel(now=True)
            with log:
                said = log.read()
            if not isinstance(error, RuntimeError):
                raise
            if TAKEN not in said or attempt == STARTS:
                raise RuntimeError(f"{error}. {said[-2000:]}".strip()) from None


def serve(manager, client, log):
    """Serves requests until there are no more; whether the kernel can be asked to end."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = execute(manager, client, log, request["code"], request["timeout"])
        say(**answer)
        if answer["status"] in ("dead", "timeout"):
            return False
    return True


def converse(kernel, folder, log_file):
    """Starts the kernel, serves requests and ends it."""
    begin = time.monotonic()
    try:
        manager, client, log = start(kernel, folder, log_file)
    except RuntimeError as error:
        say(failed=str(error))
        return
    polite = False
    try:
        say(seconds=time.monotonic() - begin)
        polite = serve(manager, client, log)
    finally:
        client.stop_channels()
        log.close()
        # Otherwise its whole process group is killed, a compiler that still runs included.
        manager.shutdown_kernel(now=not polite)


def raise_loopback():
    """Brings up the loopback interface of a network of its own, which begins without one (Linux)."""
    import fcntl
    import socket
    import struct

    up_and_running, set_flags = 0x41, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH14x", b"lo", up_and_running))


def main():
    kernel, folder = sys.argv[1:]
    sys.stdin.reconfigure(encoding="utf-8")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.environ.pop("CANDLE_LENS_LOOPBACK", None):
        raise_loopback()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            converse(kernel, folder, os.path.join(scratch, "kernel.log"))
        except (KeyboardInterrupt, BrokenPipeError):
            pass


main()
