"""All faults, by name."""
import faults_data
import faults_outside
import faults_server
from fault import FAULTS, Skip

__all__ = ["FAULTS", "Skip"]
# Each registers its own.
KINDS = (faults_server, faults_outside, faults_data)
