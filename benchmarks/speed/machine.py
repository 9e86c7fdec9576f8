# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The machine that a benchmark runs on, and what its kernel says of a process.

The description holds no names of hosts, people or folders, and leaves out what cannot be read.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from eloss_perception import __version__
from eloss_perception.errors import ElossError

_PACKAGES = (
    *("numpy", "numba", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt"),
    *("tensorrt-cu12", "tensorrt-cu13", "torch", "cupy-cuda12x", "cupy-cuda13x"),
    *("cuda-bindings", "cuda-python", "rosbags"),
)
_ROOT = Path("/")
_TIMEOUT_S = 10.0


def describe_machine(root: Path = _ROOT) -> dict[str, str | int | float]:
    """Returns what is known of the machine, in the order in which it is shown.

    Args:
        root: Where the file system begins; another folder in tests.
    """
    found: dict[str, str | int | float | None] = {
        "cpu": _cpu_model(root),
        "architecture": platform.machine(),
        "cores_used": num_cores_used(),
        "cores": os.cpu_count(),
        "governor": _first_line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_average": round(os.getloadavg()[0], 2),
        "memory_gb": _memory_gb(root),
        "gpu": gpu_name(root),
        **_jetson(root),
        "system": _system_name(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "ros": os.environ.get("ROS_DISTRO") or _wheel_distribution(),
        "rmw": os.environ.get("RMW_IMPLEMENTATION"),
        "eloss_perception": __version__,
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def num_cores_used() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gpu_name(root: Path = _ROOT) -> str | None:
    """Name of the NVIDIA GPU, or None where there is none that can be used."""
    if (root / "dev/nvhost-gpu").exists() or (root / "dev/nvgpu").exists():
        return f"{_jetson_model(root) or 'Jetson'} (integrated)"
    if not (root / "dev/nvidiactl").exists():
        return None
    answer = _ask("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return answer.splitlines()[0].strip() if answer else "NVIDIA GPU"


def _jetson(root: Path) -> dict[str, str | None]:
    """Model, release, power mode and clocks of a Jetson; nothing elsewhere."""
    model = _jetson_model(root)
    if model is None:
        return {}
    return {
        "jetson": model,
        "l4t": _first_line(root / "etc/nv_tegra_release"),
        "power_mode": _power_mode(root),
        "jetson_clocks": _clocks(root),
    }


def _jetson_model(root: Path) -> str | None:
    text = _first_line(root / "proc/device-tree/model") or ""
    is_jetson = "Jetson" in text or (root / "etc/nv_tegra_release").exists()
    return (text.strip("\x00 ") or "Jetson") if is_jetson else None


def _power_mode(root: Path) -> str | None:
    """What `nvpmodel -q` says in one line, or the default mode of its configuration file."""
    answer = _ask("nvpmodel", "-q") if root == _ROOT else ""
    found = re.search(r"NV Power Mode:\s*(\S+)", answer)
    if found:
        return found.group(1)
    text = _text(root / "etc/nvpmodel.conf")
    default = re.search(r"PM_CONFIG\s+DEFAULT\s*=\s*(\d+)", text)
    if default is None:
        return None
    name = re.search(rf"POWER_MODEL\s+ID={default.group(1)}\s+NAME=(\S+)", text)
    mode = name.group(1) if name else f"mode {default.group(1)}"
    return f"{mode.strip('<> ')} by default, the one in force is not readable"


def _clocks(root: Path) -> str:
    """Whether the clocks are pinned, as `jetson_clocks` does it.

    Its `--show` needs root; without, the lowest frequency that the kernel may choose tells the same
    of the CPU.
    """
    answer = _ask("jetson_clocks", "--show") if root == _ROOT else ""
    lines = [line.strip() for line in answer.splitlines() if re.match(r"\s*(cpu0|GPU|EMC)", line)]
    if lines:
        return "; ".join(re.sub(r"\s+", " ", line) for line in lines)
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    lowest = _first_line(folder / "scaling_min_freq")
    highest = _first_line(folder / "scaling_max_freq")
    if not lowest or not highest:
        return "unknown"
    return "CPU clock pinned" if lowest == highest else "CPU clock not pinned"


def _cpu_model(root: Path) -> str | None:
    """From `/proc/cpuinfo`; ARM writes no name there, but the device tree has one."""
    text = _text(root / "proc/cpuinfo")
    for key in ("model name", "Model", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found.group(1).strip()
    return (_first_line(root / "proc/device-tree/model") or "").strip("\x00 ") or None


def _memory_gb(root: Path) -> float | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return round(int(found.group(1)) / 1024**2, 1) if found else None


def _system_name(root: Path) -> str | None:
    found = re.search(r'^PRETTY_NAME="?(.+?)"?$', _text(root / "etc/os-release"), re.MULTILINE)
    return found.group(1) if found else platform.system()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    if package != "tensorrt":
        return None
    try:  # JetPack's comes from apt and may bring no metadata.
        import tensorrt
    except Exception:  # A library that is half installed may fail in any way.
        return None
    return str(getattr(tensorrt, "__version__", "")) or None


def _wheel_distribution() -> str | None:
    """ROS 2 from pip, which sets no variable."""
    try:
        return f"wheels, rclpy {metadata.version('ros-rclpy')}"
    except metadata.PackageNotFoundError:
        return None


def _ask(*command: str) -> str:
    """What a program prints; nothing where it is missing, refuses or hangs."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def _first_line(path: Path) -> str | None:
    lines = _text(path).splitlines()
    return lines[0].strip() if lines else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def use_cores(num_cores: int) -> None:
    """Restricts this process and its children to its first cores; 0 restricts nothing.

    Call it before anything starts a thread: a running thread keeps its cores.
    """
    if num_cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:num_cores])


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads together; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    # Fields 14 and 15 of proc(5), counted from the state, which is the third.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Resident memory of a process [MB].

    Raises:
        ElossError: It has ended.
    """
    try:
        num_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        raise ElossError("the detector has ended") from None
    return num_pages * os.sysconf("SC_PAGE_SIZE") / 1e6
