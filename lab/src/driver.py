"""Executes code in a Jupyter kernel for the launcher.

usage: driver.py KERNEL FOLDER

Reads one JSON object per line, {"code": ..., "timeout": seconds}, and writes one JSON object per line:
{"seconds": ...} when the kernel is ready, {"failed": message} if it never was; for each request, any number of
{"stderr": text} while it runs, then {"status", "seconds", "execution_count", "outputs"}.
The kernel is shut down when the input ends. What the outputs mean is judged by the launcher.
"""
import json
import queue
import sys
import tempfile
import time

from jupyter_client import KernelManager
from nbformat.v4 import output_from_msg

# A panic's text may arrive after the kernel has said that the cell is over, because evcxr forwards stderr on a thread of
# its own. So we listen until nothing has come for this long.
QUIET = 0.25
READY = 300


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


def execute(manager, client, code, timeout):
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
        else:
            continue
        count = (reply or {}).get("execution_count")
        return dict(status=status, seconds=last - start, execution_count=count, outputs=outputs)


def main():
    kernel, folder = sys.argv[1:]
    sys.stdin.reconfigure(encoding="utf-8")
    manager = KernelManager(kernel_name=kernel)
    client = None
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        try:
            start = time.monotonic()
            manager.start_kernel(cwd=folder, stdout=log, stderr=log)
            client = manager.client()
            client.start_channels()
            try:
                client.wait_for_ready(timeout=READY)
            except RuntimeError as error:
                log.seek(0)
                say(failed=f"{error} {log.read()[-2000:]}".strip())
                return
            say(seconds=time.monotonic() - start)
            for line in sys.stdin:
                request = json.loads(line)
                say(**execute(manager, client, request["code"], request["timeout"]))
        except KeyboardInterrupt:
            pass
        finally:
            if client:
                client.stop_channels()
            if manager.has_kernel:
                manager.shutdown_kernel(now=not manager.is_alive())


main()
