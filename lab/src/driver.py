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


def converse(manager, folder, log_file):
    """Starts the kernel and serves requests until there are no more; whether the kernel can be asked to end."""
    start = time.monotonic()
    with open(log_file, "wb") as into:
        manager.start_kernel(cwd=folder, stdout=into, stderr=into)
    client = manager.client()
    client.start_channels()
    log = open(log_file, encoding="utf-8", errors="replace")
    try:
        client.wait_for_ready(timeout=READY)
        say(seconds=time.monotonic() - start)
        for line in sys.stdin:
            request = json.loads(line)
            answer = execute(manager, client, log, request["code"], request["timeout"])
            say(**answer)
            if answer["status"] in ("dead", "timeout"):
                return False
        return True
    except RuntimeError as error:
        say(failed=f"{error}. {log.read()[-2000:]}".strip())
        return False
    finally:
        client.stop_channels()
        log.close()


def main():
    kernel, folder = sys.argv[1:]
    sys.stdin.reconfigure(encoding="utf-8")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    manager = KernelManager(kernel_name=kernel)
    polite = False
    with tempfile.TemporaryDirectory() as scratch:
        try:
            polite = converse(manager, folder, os.path.join(scratch, "kernel.log"))
        except (KeyboardInterrupt, BrokenPipeError):
            pass
        finally:
            # Otherwise its whole process group is killed, a compiler that still runs included.
            if manager.has_kernel:
                manager.shutdown_kernel(now=not polite)


main()
