"""Starts the kernel that this Python's Jupyter knows, and lets the embedded model run in a cell: `cargo lab test wheel` calls it."""
import sys

from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(startup_timeout=300, kernel_name="candle-lens", cwd=sys.argv[1])
printed = []
try:
    client.execute_interactive(
        'println!("logits: {:?}", HookedTransformer::from_pretrained("tiny")?.forward("The")?.dims());',
        timeout=300,
        output_hook=lambda message: printed.append(message["content"].get("text", "")),
    )
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
said = "".join(printed)
print(f"    {manager.kernel_spec.resource_dir}: {said.strip()}")
sys.exit(not said.startswith("logits: [1, "))
