"""Interrupts kernels and ends their processes, as people and systems do, and looks at what is left.

usage: interrupts.py KERNEL FOLDER

Writes one JSON object per line: {"test": name, "seconds": .., "wrong": message or null}. One kernel is Jupyter Server's, interrupted by
its REST interface, as JupyterLab does; the other one is interrupted by signals.
"""
import contextlib
import glob
import http.server
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from jupyter_client import BlockingKernelClient, KernelManager

READY = 300
# Seconds within which an interrupted cell, or one whose process has ended, must be over. The machine may be busy.
SOON = float(os.environ.get("CANDLE_LENS_SOON", "5"))
# A cell may have to be compiled first.
LONG = 120
BEGUN = "begun"
LOST = "all variables are lost"

SETUP = """
let kept = 41;
let model = HookedTransformer::from_pretrained("tiny")?;
let task = Task::Ioi.prompts(tasks::Split::Combinations, 400, 1)?.hard()?.one_length(&model)?.batch(&model)?;
let texts: Vec<String> = Task::Ioi.prompts(tasks::Split::Train, 200, 1)?.prompts.into_iter().map(|prompt| prompt.clean).collect();
"""
SWEEP = "task.experiment(&model)?.get_act_patch_attn_head_by_pos_every()?;"
GENERATION = """
let options = GenerateOptions { max_new_tokens: usize::MAX, stop_at_eos: false, ..Default::default() };
model.generate(vec!["When John and Mary went to the shops, John gave the bag to"; 4000], options)?;
"""
TRAINING = """
let long = TunedTraining { schedule: Schedule::new(1e-3, 100_000), batch: 128, ..Default::default() };
let fitted = TunedLens::fit(&model, texts[..20].to_vec(), TunedFit::default())?;
fitted.train(&model, Texts::from(texts.clone()).repeated()?, long)?;
"""
DOWNLOAD = 'HookedTransformer::from_pretrained("someone/slow")?;'
CHECKED = "let mut turns = 0u64; loop { check_interrupt()?; turns += 1; std::hint::black_box(turns); }"
UNCHECKED = "let mut turns = 0u64; loop { turns += 1; std::hint::black_box(turns); }"
# The compiler takes more than a second for it.
COMPILED = "let sines = [" + "kept as f64 + 1.5f64.sin(), " * 1_000 + "]; sines.len()"
OVERFLOW = """
fn deeper(n: u64) -> u64 { if n == 0 { 0 } else { std::hint::black_box([n; 64])[3] + deeper(std::hint::black_box(n + 1)) } }
deeper(1)
"""
LEFT_RUNNING = 'std::process::Command::new("sleep").arg("100").spawn()?; std::process::abort();'
SELF = "std::process::Command::new(\"kill\").args([\"-9\", &std::process::id().to_string()]).status()?;"
# A panic, for which evcxr answers "ok".
PANIC = 'let lost = 1; assert_eq!(kept, lost, "a panic");'


class SlowHub(http.server.BaseHTTPRequestHandler):
    """A hub that has every file, and sends it a few bytes at a time."""

    def do_HEAD(self):
        self.begin()

    def do_GET(self):
        self.begin()
        try:
            while True:
                self.wfile.write(b" " * 1024)
                time.sleep(0.05)
        except OSError:
            pass

    def begin(self):
        self.send_response(200)
        self.send_header("Content-Length", "500000000")
        self.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
        self.send_header("ETag", '"' + "0" * 40 + '"')
        self.end_headers()

    def log_message(self, *_):
        pass


class Said:
    """What a cell said, and how long it took after `act`."""

    def __init__(self):
        self.status, self.text, self.errors, self.stderr, self.took = "timeout", "", "", "", float("inf")

    def keep(self, message):
        content = message["content"]
        if message["msg_type"] == "stream":
            self.text += content["text"]
            self.stderr += content["text"] * (content["name"] == "stderr")
        elif message["msg_type"] == "error":
            self.errors += content["evalue"] + "\n"
        elif message["msg_type"] == "execute_result":
            self.text += content["data"].get("text/plain", "")

    def __str__(self):
        return f"{self.status} after {self.took:.1f} s: {self.errors!r} {self.text[-600:]!r}"


def execute(client, code, act=None, after=0.5, begins=True):
    """Executes a cell; `act` is called `after` seconds after it began to run (or, without `begins`, after it was sent)."""
    said, seconds = Said(), time.monotonic
    request = client.execute(f'println!("{BEGUN}");\n{code}' if act and begins else code, stop_on_error=False)
    sent, reply, idle, acted, begun = seconds(), None, False, None, None
    while seconds() - sent < LONG and (acted is None or seconds() - acted < LONG / 2):
        try:
            message = client.get_iopub_msg(timeout=0.05)
            if message["parent_header"].get("msg_id") == request:
                said.keep(message)
                idle = idle or message["content"].get("execution_state") == "idle"
        except queue.Empty:
            pass
        begun = begun or (seconds() if BEGUN in said.text or not begins else None)
        if act and begun and acted is None and seconds() - begun > after:
            act()
            acted = seconds()
        try:
            message = client.get_shell_msg(timeout=0)
            if message["parent_header"].get("msg_id") == request:
                reply = message["content"]
                said.took = seconds() - (acted or sent)
        except queue.Empty:
            pass
        if reply and idle:
            said.status = reply["status"]
            # evcxr hands stderr on by a thread of its own.
            try:
                while True:
                    said.keep(client.get_iopub_msg(timeout=0.3))
            except queue.Empty:
                return said
    return said


class Tests:
    """Reports each test, and goes on after a failed one."""

    def __init__(self, client):
        self.client = client

    def test(self, name, said, *texts, absent=(), soon=SOON):
        wrong = [f"{text!r} is missing" for text in texts if text not in said.errors + said.text]
        wrong += [f"{text!r} is there" for text in absent if text in said.errors + said.text]
        if not said.took < soon:
            wrong.append(f"it took longer than {soon:.0f} s")
        print(json.dumps({"test": name, "seconds": said.took, "wrong": f"{', '.join(wrong)} in {said}" if wrong else None}), flush=True)

    def stopped(self, name, code, act, *texts, **options):
        """The cell ends with an error, and the variables of earlier cells are there."""
        self.test(name, execute(self.client, code, act, **options), *(texts or ["interrupted"]), absent=[LOST])
        self.test(f"{name}: the variables are there", execute(self.client, "kept + 1"), "42", absent=["candle-lens: "], soon=LONG)

    def ended(self, name, code, act, *texts, **options):
        """The process ends with a sentence; the next cells work."""
        self.test(name, execute(self.client, code, act, **options), LOST, "Subprocess terminated", *texts)
        self.test(f"{name}: the next cell runs", execute(self.client, "let kept = 41; kept + 1"), "42", absent=[LOST], soon=LONG)


def of_server(kernel, folder, scratch):
    """A kernel of Jupyter Server's, which is interrupted as JupyterLab does it."""
    hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowHub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    environment = dict(os.environ, HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}", HF_HOME=os.path.join(scratch, "hub"), JUPYTER_TOKEN="token")
    environment["JUPYTER_RUNTIME_DIR"] = os.path.join(scratch, "runtime")
    command = [sys.executable, "-m", "jupyter_server", "--port=0", "--ip=127.0.0.1", "--allow-root", f"--ServerApp.root_dir={folder}"]
    with open(os.path.join(scratch, "server.log"), "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        address = wait_for(lambda: address_in(os.path.join(scratch, "server.log")))

        def post(path, **content):
            headers = {"Authorization": "token token", "Content-Type": "application/json"}
            request = urllib.request.Request(address + path, json.dumps(content).encode(), headers, method="POST")
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")

        identity = post("api/kernels", name=kernel)["id"]
        client = BlockingKernelClient(connection_file=os.path.join(scratch, "runtime", f"kernel-{identity}.json"))
        client.load_connection_file()
        # Without a heartbeat, which a kernel that is still starting does not answer: the client would take it for dead.
        client.start_channels(hb=False)
        client.kernel_info()
        client.get_shell_msg(timeout=READY)
        press = lambda: post(f"api/kernels/{identity}/interrupt")
        tests = Tests(client)
        tests.test("the variables", execute(client, SETUP), absent=["candle-lens: "], soon=LONG)
        tests.stopped("a sweep", SWEEP, press, after=1)
        tests.stopped("generation", GENERATION, press, after=1)
        tests.stopped("training", TRAINING, press, after=1)
        tests.stopped("a download", DOWNLOAD, press, after=2)
        tests.stopped("a loop that looks", CHECKED, press)
        press()
        tests.test("an interrupt between cells does nothing", execute(client, "kept + 1"), "42", absent=["candle-lens: "], soon=LONG)
        tests.ended("a loop that does not look", UNCHECKED, press, "did not look")
        client.stop_channels()
    finally:
        server.terminate()
        server.wait()


def address_in(log):
    with open(log, encoding="utf-8", errors="replace") as text:
        found = re.search(r"http://127\.0\.0\.1:\d+/", text.read())
    return found and found.group()


def wait_for(look):
    for _ in range(600):
        if found := look():
            return found
        time.sleep(0.1)
    raise RuntimeError("what was waited for did not come within a minute")


def of_signals(kernel, folder):
    """A kernel that is interrupted by signals, and whose processes end."""
    manager = KernelManager(kernel_name=kernel)
    manager.start_kernel(cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=READY)
        process = manager.provisioner.pid
        group = lambda: os.killpg(os.getpgid(process), signal.SIGINT)
        alone = lambda: os.kill(process, signal.SIGINT)
        tests = Tests(client)
        tests.test("a variable", execute(client, "let kept = 41;"), absent=["candle-lens: "], soon=LONG)
        tests.stopped("a loop, by a signal to the group", CHECKED, group)
        tests.stopped("a loop, by a signal to the kernel alone, as VS Code does", CHECKED, alone)
        tests.stopped("a cell that is compiled", COMPILED, once_compiled(process, group), "while it was compiled", after=0.1, begins=False)
        tests.test("a panic", execute(client, PANIC), "a panic", absent=[LOST], soon=LONG)
        tests.test("a panic: the variables of earlier cells are there", execute(client, "kept + 1"), "42", soon=LONG)
        tests.ended("abort", "std::process::abort();", lambda: None, "aborted", after=0)
        # The process is a new one, in which nothing of the library has run yet.
        tests.ended("a loop in a new process", UNCHECKED, group)
        tests.ended("an overflow of the stack", OVERFLOW, lambda: None, "its stack overflowed", after=0)
        tests.ended("a killed process", SELF, lambda: None, "it was killed", after=0)
        tests.ended("exit", "std::process::exit(3);", lambda: None, "exit code 3", after=0)
        tests.ended("a process that leaves another one running", LEFT_RUNNING, lambda: None, "aborted", after=0)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def once_compiled(kernel, press):
    """Presses when the compiler runs; before that evcxr looks at the cell, which takes as long as the machine is slow."""

    def act():
        wait_for(lambda: any(name == "rustc" for name in names_below(kernel)))
        press()

    return act


def names_below(process):
    """The names of the programs that a process has started, and of those that they have."""
    programs = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stat:
            number, name, rest = re.fullmatch(r"(\d+) \((.*)\) . (\d+) .*", stat.read().strip(), re.DOTALL).groups()
            programs[int(number)] = (name, int(rest))

    def is_below(number):
        parent = programs.get(number, ("", 0))[1]
        return parent == process or parent > 1 and is_below(parent)

    return [name for number, (name, _) in programs.items() if is_below(number)]


def main():
    kernel, folder = sys.argv[1:3]
    only = sys.argv[3:]
    with tempfile.TemporaryDirectory() as scratch:
        if not only or "signals" in only:
            of_signals(kernel, folder)
        if not only or "server" in only:
            of_server(kernel, folder, scratch)


main()
