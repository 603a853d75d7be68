"""What a measured latency depends on besides the model: the device, the runtime, and what it is given."""

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
from torch import nn

from autoprune.cost.latency.setting import Inputs, Setting, inputs_text


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
        runtime_version: its version, empty where torch's says it all.
        threads: threads within one operator.
        inputs: shapes and types of the inputs, such as ``"1x3x224x224 float32"``.
        dtype: floating type of the model's parameters.
        channels_last: whether images lay in memory with their channels innermost.
    """

    processor: str
    logical_cores: int
    vector_extension: str
    accelerator: str
    system: str
    torch: str
    runtime: str
    runtime_version: str
    threads: int
    inputs: str
    dtype: str
    channels_last: bool

    def __str__(self) -> str:
        cores = f"{self.logical_cores} core{'' if self.logical_cores == 1 else 's'}"
        where = self.accelerator or f"{self.processor}, {cores}"
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        runtime = f"{self.runtime} {self.runtime_version}".strip()
        layout = ", channels last" if self.channels_last else ""
        form = f"{self.dtype}{layout} on {self.inputs}"
        return f"{where}, {runtime}, torch {self.torch}, {threads}, {form}"

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that stand for all fields."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def fingerprint_of(setting: Setting, model: nn.Module, inputs: Inputs) -> DeviceFingerprint:
    """Where and how a model is timed in this setting on these inputs."""
    device = setting.runtime.device or next((x.device for x in inputs if x.device.type != "cpu"), None)
    own = next((str(p.dtype) for p in model.parameters() if p.is_floating_point()), "")
    return DeviceFingerprint(
        processor=_processor(),
        logical_cores=_usable_cores(),
        vector_extension=torch.backends.cpu.get_cpu_capability(),
        accelerator=_accelerator(device),
        system=f"{platform.system()}-{platform.machine()}",
        torch=torch.__version__,
        runtime=setting.runtime.name,
        runtime_version=setting.runtime.version,
        threads=setting.thread_count,
        inputs=inputs_text(inputs),
        dtype=setting.dtype or own.removeprefix("torch."),
        channels_last=setting.channels_last,
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
