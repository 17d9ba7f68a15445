"""Ties the server process whose forks are the workers to the process that started it.

The server imports this module first. From then on the system kills it at once when its
parent ends. Without this it would first finish its imports, and then spend a second on
the orderly shutdown of torch.
"""

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # of linux/prctl.h; forks do not inherit this setting

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
