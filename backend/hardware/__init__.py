"""What this machine has, how busy it is, and where a job should run. No torch in this process."""

from backend.hardware.choose import choose_device, worker_device
from backend.hardware.report import Hardware, report

__all__ = ["Hardware", "choose_device", "report", "worker_device"]
