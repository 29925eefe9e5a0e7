"""Convolution, corruption, training steps, denoisers and network internals, step by step, for scripts and the UI.

It may import `core.training`, `core.diffusion` and what is below them.
"""

from core.lab.channels import luminance as luminance
from core.lab.convolution import ConvolutionStep as ConvolutionStep
from core.lab.convolution import convolve_steps as convolve_steps
from core.lab.hooks import without_skips as without_skips
from core.lab.ideal import IdealPoint as IdealPoint
from core.lab.ideal import ideal_sweep as ideal_sweep
from core.lab.ideal import sample_together as sample_together
from core.lab.inside import attention_maps as attention_maps
from core.lab.inside import feature_maps as feature_maps
from core.lab.inside import layer_kernels as layer_kernels
from core.lab.inside import receptive_field as receptive_field
from core.lab.layers import LayerRow as LayerRow
from core.lab.layers import layer_table as layer_table
from core.lab.sweep import SweepPoint as SweepPoint
from core.lab.sweep import corruption_sweep as corruption_sweep
from core.lab.sweep import one_step as one_step
from core.lab.training_step import LayerGradient as LayerGradient
from core.lab.training_step import LossBin as LossBin
from core.lab.training_step import TrainingStep as TrainingStep
from core.lab.training_step import training_steps as training_steps
from core.lab.transposed import TransposedStep as TransposedStep
from core.lab.transposed import overlap_counts as overlap_counts
from core.lab.transposed import transposed_convolve_steps as transposed_convolve_steps
from core.lab.transposed import upsample_convolve as upsample_convolve
