"""What holds for every test, in the processes that they start as well."""

import signal

import torch

# One thread: results then do not depend on the machine's cores, and small operations are faster.
torch.set_num_threads(1)

# A shell starts programs in the background with Ctrl-C ignored, which they would pass on to theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)
