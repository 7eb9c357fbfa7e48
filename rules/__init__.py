"""Rules: conditions on customer, context and time."""

import sys
from types import ModuleType

# The package `cel` imports its interactive console, with prompt_toolkit, pygments and rich: a seventh of the time that
# a process takes to start, for a command that nobody runs here.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
