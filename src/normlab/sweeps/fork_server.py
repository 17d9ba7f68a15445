"""Imported first by the process whose forks are the workers: it ends with the process that started it, at once.

Without this it would end after its imports, and then take a second for taking torch apart.
"""

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h; not inherited by forks

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
