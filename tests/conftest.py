"""One thread for every test: results then do not depend on the machine's cores, and small operations are faster."""

import torch

torch.set_num_threads(1)
