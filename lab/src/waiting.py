"""Stands in for the Rust kernel while it is being prepared, so that a notebook can be opened and read.

usage: waiting.py LAUNCHER LAB LOG CONNECTION_FILE

A cell that is run says what is going on and how long it has taken, in lines that change; when the kernel is prepared, it asks to be run
again. Then this process goes on as the kernel itself, with the same connection: Jupyter's own sockets connect again by themselves.
"""
import asyncio
import html
import os
import signal
import subprocess
import sys
import time

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

LAUNCHER, LAB, LOG, CONNECTION = sys.argv[1:]
# Seconds between two looks; and for messages to arrive before this process becomes another one.
LOOK, FAREWELL = 1.0, 1.0
READY, BUSY = 0, 3
interrupted = False


def interrupt(*_):
    global interrupted
    interrupted = True


async def state():
    """What the launcher says: READY, BUSY, or something else where the preparation has failed."""
    asked = await asyncio.create_subprocess_exec(LAUNCHER, "prepared", LAB, stdout=subprocess.DEVNULL)
    return await asked.wait()


def lines():
    with open(LOG, encoding="utf-8", errors="replace") as log:
        return [line.rstrip() for line in log if line.strip()]


def passed():
    """How long it has taken, in words."""
    seconds = int(time.time() - os.stat(os.path.join(os.path.dirname(LOG), "python")).st_mtime)
    return f"{seconds // 60} min {seconds % 60:02} s"


def progress():
    """What is going on, in a few lines."""
    said = lines()
    doing = next((line[4:] for line in reversed(said) if line.startswith("==> ")), "")
    last = said[-1].strip() if said and not said[-1].startswith("==> ") else ""
    return [
        f"The Rust kernel is being prepared, {passed()} so far.",
        ": ".join(part for part in (doing, last) if part) or "It begins.",
        "The notebook can be read meanwhile. These lines change; when the kernel is ready, they say so.",
    ]


class Waiting(Kernel):
    implementation, implementation_version, banner = "candle-lens", "1", "The Rust kernel is being prepared."
    language_info = {"name": "rust", "mimetype": "text/rust", "file_extension": ".rs"}

    def pre_handler_hook(self):
        signal.signal(signal.SIGINT, interrupt)

    def post_handler_hook(self):
        pass

    def start(self):
        super().start()
        self.io_loop.spawn_callback(self.turn)

    def tell(self, said, place, again):
        # JupyterLab breaks plain text in the middle of words.
        data = {"text/plain": "\n".join(said), "text/html": "<br>".join(map(html.escape, said))}
        content = {"data": data, "metadata": {}, "transient": {"display_id": place}}
        self.send_response(self.iopub_socket, "update_display_data" if again else "display_data", content)

    def stop(self, name, text):
        content = {"ename": name, "evalue": text, "traceback": [text]}
        self.send_response(self.iopub_socket, "error", content)
        return {"status": "error", "execution_count": self.execution_count, **content}

    async def do_execute(self, code, silent, *_, **__):
        global interrupted
        interrupted = False
        if silent or not code.strip():
            return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}
        place, again, said = os.urandom(8).hex(), False, []
        while (found := await state()) == BUSY and not interrupted:
            if (now := progress()) != said:
                self.tell(now, place, again)
                again, said = True, now
            await asyncio.sleep(LOOK)
        if interrupted:
            return self.stop("Interrupted", "Nothing was run. The kernel is still being prepared.")
        if found == READY:
            if again:
                self.tell([f"The Rust kernel was prepared in {passed()}."], place, again)
            return self.stop("Ready", "The kernel is ready. Run this cell again.")
        return self.stop("NotPrepared", "The kernel could not be prepared:\n" + "\n".join(lines()[-12:]))

    async def turn(self):
        """Becomes the kernel when that is prepared."""
        while await state() != READY:
            await asyncio.sleep(LOOK)
        await asyncio.sleep(LOOK + FAREWELL)
        if os.name == "nt":
            os._exit(1)  # Jupyter starts it again, and then it is the kernel.
        sys.stdout.flush()
        os.execv(LAUNCHER, [LAUNCHER, "kernel", LAB, CONNECTION])


if __name__ == "__main__":
    IPKernelApp.launch_instance(kernel_class=Waiting, argv=["-f", CONNECTION, "--IPKernelApp.capture_fd_output=False"])
