"""Classical baselines of the networks, on the same split: arrays in, predictions out.

Features that are NaN or infinite are replaced by the median of the training objects.
"""
