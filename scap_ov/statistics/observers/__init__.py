"""What is kept of a site's input while calibration data streams by. A new observer is a file here and a line in OBSERVERS."""

from scap_ov.statistics.observers.base import Observer
from scap_ov.statistics.observers.histogram import HistogramObserver
from scap_ov.statistics.observers.moments import MomentsObserver
from scap_ov.statistics.observers.reservoir import ReservoirObserver

OBSERVERS = (MomentsObserver, HistogramObserver, ReservoirObserver)

__all__ = ["OBSERVERS", "HistogramObserver", "MomentsObserver", "Observer", "ReservoirObserver"]
