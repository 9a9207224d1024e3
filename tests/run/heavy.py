"""What training commands load; see ``warm``."""

import accelerate  # noqa: F401
import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401

import envs.batched  # noqa: F401
import run.commands.train_actor
import run.commands.train_detector
import run.commands.train_planner
import run.commands.train_reporter  # noqa: F401
