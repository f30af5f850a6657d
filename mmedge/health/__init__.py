"""Whether each sensor is well, from cheap facts about what it gives."""

from mmedge.health.ailment import Ailment, Alarm
from mmedge.health.monitor import Health, SensorHealth

__all__ = ["Ailment", "Alarm", "Health", "SensorHealth"]
