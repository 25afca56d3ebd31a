"""What the facade promises to the screen and the command line: plain frozen dataclasses, JSON in and out.

`Facade` is the protocol that `backend.facade.StudioFacade` fulfils and that tests of the screen replace by
a fake; its part about chat is in `backend.api.chat`. Times are seconds since the epoch, sizes bytes,
durations seconds. Whatever a person can mend arrives as `StudioError`.
"""

from backend.api.content import CheckReport, ModelInfo, PreviewRow, SampleInfo
from backend.api.facade import Facade
from backend.api.library import Dependent, DiskUse, Holding, Library
from backend.api.machine import Device, GpuProcess, HardwareReport, Room
from backend.api.memory import (
    Calibration,
    EpochCost,
    FitProposal,
    MemoryLimits,
    MemoryNeed,
    MemoryPoint,
    PurposeNeed,
)
from backend.api.plans import Draft
from backend.api.products import (
    Endpoint,
    ExportRequest,
    ExportRoom,
    MergeRequest,
    Product,
    ServeRequest,
    Unmixable,
)
from backend.api.runs import LIVE_STATES, STATES, RunDetail, RunSummary, Series
from studio.cost import Spent
from studio.errors import Reason

__all__ = [
    "LIVE_STATES",
    "STATES",
    "Calibration",
    "CheckReport",
    "Dependent",
    "Device",
    "DiskUse",
    "Draft",
    "Endpoint",
    "EpochCost",
    "ExportRequest",
    "ExportRoom",
    "Facade",
    "FitProposal",
    "GpuProcess",
    "HardwareReport",
    "Holding",
    "Library",
    "MemoryLimits",
    "MemoryNeed",
    "MemoryPoint",
    "MergeRequest",
    "ModelInfo",
    "PreviewRow",
    "Product",
    "PurposeNeed",
    "Reason",
    "Room",
    "RunDetail",
    "RunSummary",
    "SampleInfo",
    "Series",
    "ServeRequest",
    "Spent",
    "Unmixable",
]
