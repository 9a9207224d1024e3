"""What training commands load; see ``warm``."""

import accelerate  # noqa: F401
import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401

import envs.batched  # noqa: F401
import run.train_actor
import run.train_detector
import run.train_planner
import run.train_reporter  # noqa: F401
