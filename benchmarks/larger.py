"""Two checkpoints of 4 GB each, and what memory the line between them takes.

    python -m benchmarks.larger [--gigabytes 4] [--alphas 3] [--keep FOLDER]

A causal language model of Llama's kind in bfloat16, with random weights, and a second one near it, both saved as
Hugging Face folders in parts. `linescape probe` walks the line between them in a process of its own, `linescape
average` writes a point of it in another. Memory is the process's own (anonymous pages): the ends are mapped from their
files, and pages of files are the system's to drop. Needs the extra `hf`, and a torchvision that fits torch or none.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from benchmarks import results

LENGTH = 64
SEQUENCES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--alphas", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="where the checkpoints are, or are put; by default they are removed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        start, end = folder / "start", folder / "end"
        if not end.exists():
            subprocess.run([sys.executable, "-c", _MAKE, str(asked.gigabytes), str(start), str(end)], check=True)
        size = sum(part.stat().st_size for part in end.glob("*.safetensors"))
        generator = torch.Generator().manual_seed(0)
        text = torch.randint(32, 127, (LENGTH * SEQUENCES + 1,), generator=generator)
        (folder / "text.txt").write_text("".join(map(chr, text.tolist())))
        out = Path(scratch) / "out"
        data = f"text:{folder / 'text.txt'},length={LENGTH}"
        probe = ["probe", str(start), str(end), "--data", data, "--alphas", str(asked.alphas), "--out", str(out)]
        average = ["average", str(start), str(end), "--alpha", "0.3", "--out", str(Path(scratch) / "averaged")]
        found = {command[0]: _peak(command) for command in (probe, average)}
        result = {
            "network": "a causal language model of Llama's kind, bfloat16, in parts of safetensors",
            "gigabytes_of_a_checkpoint": round(size / 1e9, 2),
            "alphas": asked.alphas,
            "tokens": LENGTH * SEQUENCES,
            **{
                name: {"peak_over_checkpoint": round(peak / size, 3), "peak_gigabytes": round(peak / 1e9, 2), **more}
                for name, (peak, more) in found.items()
            },
        }
        results.write("larger", result)
        print(result)


def _peak(command: list[str]) -> tuple[int, dict[str, float]]:
    """Run linescape; the largest anonymous memory of its process, in bytes, and how long it took."""
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "linescape", *command])
    peaks = {"RssAnon": 0, "VmRSS": 0}

    def watch() -> None:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            for line in status.splitlines():
                name, _, value = line.partition(":")
                if name in peaks:
                    peaks[name] = max(peaks[name], int(value.split()[0]) * 1024)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait():
        raise SystemExit(f"linescape {command[0]} failed")
    watcher.join()
    seconds = time.perf_counter() - begun
    return peaks["RssAnon"], {
        "with_pages_of_files_gigabytes": round(peaks["VmRSS"] / 1e9, 2),
        "seconds": round(seconds),
    }


_MAKE = """
import sys
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.initialization import no_init_weights

gigabytes, start, end = float(sys.argv[1]), sys.argv[2], sys.argv[3]
width, heads, inner = 2048, 16, 5632
layer = 4 * width * width + 3 * width * inner
layers = max(1, round(gigabytes * 1e9 / 2 / layer))
config = LlamaConfig(
    vocab_size=256, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
    num_key_value_heads=heads, max_position_embeddings=512, torch_dtype="bfloat16",
)
torch.set_default_dtype(torch.bfloat16)
with no_init_weights():
    network = LlamaForCausalLM(config)
torch.manual_seed(0)
with torch.no_grad():
    for seed, folder in enumerate((start, end)):
        for name, value in network.named_parameters():
            if value.ndim < 2:
                value.fill_(1.0)
            elif seed == 0:
                value.normal_(0, 0.02)
            else:
                value.mul_(0.9).add_(torch.randn_like(value) * 0.006)
        network.save_pretrained(folder, max_shard_size="1GB")
"""


if __name__ == "__main__":
    main()
