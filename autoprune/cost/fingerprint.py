"""What a measured latency depends on besides the model: the device, the runtime and its threads."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class DeviceFingerprint:
    """Latencies compare only where their fingerprints are equal.

    Attributes:
        processor: model name of the CPU.
        logical_cores: cores that this process may use.
        vector_extension: widest one that torch uses on this CPU, such as ``"AVX2"``.
        accelerator: name of the GPU that ran the model, empty for the CPU.
        system: operating system and machine type.
        torch: version of torch.
        runtime: what ran the model, such as ``"eager"``.
        threads: threads within one operator.
    """

    processor: str
    logical_cores: int
    vector_extension: str
    accelerator: str
    system: str
    torch: str
    runtime: str
    threads: int

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that stand for all fields."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def current_device(runtime: str, threads: int, device: torch.device | None = None) -> DeviceFingerprint:
    """Fingerprint of this machine for a model on ``device`` (default: the CPU)."""
    return DeviceFingerprint(
        processor=_processor(),
        logical_cores=_usable_cores(),
        vector_extension=torch.backends.cpu.get_cpu_capability(),
        accelerator=_accelerator(device),
        system=f"{platform.system()}-{platform.machine()}",
        torch=torch.__version__,
        runtime=runtime,
        threads=threads,
    )


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            label, _, value = line.partition(":")
            if label.strip() == "model name":
                return value.strip()
    elif sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _accelerator(device: torch.device | None) -> str:
    if device is None or device.type == "cpu":
        return ""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
